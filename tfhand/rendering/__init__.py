"""Differentiable sphere rendering and heatmap targets."""
