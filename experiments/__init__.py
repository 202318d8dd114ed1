"""Experiments of the paper: they run from the checkout and write their tables."""
