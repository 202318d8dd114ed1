"""Scores, published results, figures and reports."""
