"""Fitting the hand to depth maps, and what may be learned from the fits."""
