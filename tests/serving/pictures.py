"""Depth pictures for the tests of serving."""

import numpy as np

# Side of the crops, mm.
CUBE_MM = 300.0
FOCAL_PX = 588.0
INTRINSICS = (FOCAL_PX, FOCAL_PX, 320.0, 240.0)
# Of the ball in `ball`, camera frame, mm: its middle.
BALL_MM = ((340.0 - 320.0) * 700.0 / FOCAL_PX, (220.0 - 240.0) * 700.0 / FOCAL_PX, 700.0)


def ball(u=340.0, v=220.0, depth_mm=700.0, radius_mm=45.0):
    """A ball as large as a fist, float32 [480, 640], mm, 0 where there is none."""
    rows, columns = np.mgrid[:480, :640].astype(np.float64)
    side = np.hypot(columns - u, rows - v) * depth_mm / FOCAL_PX
    near = depth_mm - np.sqrt(np.maximum(radius_mm**2 - side**2, 0.0))
    return np.where(side < radius_mm, near, 0.0).astype(np.float32)


def pebble():
    """Too small for a hand."""
    return ball(radius_mm=8.0)


def wall():
    """Nothing but a wall, 1.2 m away."""
    return np.full([480, 640], 1200.0, np.float32)


def empty():
    """No reading at all."""
    return np.zeros([480, 640], np.float32)
