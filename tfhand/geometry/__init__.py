"""Cameras, rigid motion and the depth crop."""
