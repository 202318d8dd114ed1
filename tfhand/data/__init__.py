"""Recordings in memory, batches of each step, augmentation, and random numbers without state."""
