"""Synthetic depth maps of the hand, and what a depth sensor does to them."""
