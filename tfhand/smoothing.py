"""Smoothing of points over time: the 1 euro filter (Casiez, Roussel and Vogel, CHI 2012).

Not in the paper, which estimates every frame by itself. A first-order low-pass whose cutoff rises
with the speed: with time step T and cutoff f, x_hat += a (x - x_hat) with a = r / (r + 1) and
r = 2 pi f T, where f = f_min + beta abs(speed); the speed is low-passed likewise at 1 Hz.
"""

import numpy as np

__all__ = ["OneEuroFilter"]

_SPEED_CUTOFF_HZ = 1.0


class OneEuroFilter:
    """Smooths points of a sequence of frames.

    Attributes:
        frame_rate: Frames a second.
        min_cutoff_hz: Cutoff for points at rest: lower is smoother.
        beta: Rise of the cutoff with the speed, Hz for each mm/s: higher lags less.
    """

    def __init__(self, frame_rate: float = 30.0, min_cutoff_hz: float = 2.0, beta: float = 0.02):
        """Sets the filter up.

        Raises:
            ValueError: If a number is not positive and finite; beta may be zero.
        """
        positive = {"frame_rate": frame_rate, "min_cutoff_hz": min_cutoff_hz}
        for name, value in positive.items():
            if not 0.0 < value < float("inf"):
                raise ValueError(f"Expected a positive {name}, received {value}.")
        if not 0.0 <= beta < float("inf"):
            raise ValueError(f"Expected beta of at least 0, received {beta}.")
        self.frame_rate, self.min_cutoff_hz, self.beta = frame_rate, min_cutoff_hz, beta
        self.reset()

    def reset(self) -> None:
        """Forgets all frames."""
        self._points, self._velocity = None, None

    def __call__(self, points_mm) -> np.ndarray:
        """Smooths the points of the next frame.

        Args:
            points_mm: float [N, 3], mm.

        Returns:
            float32 [N, 3], smoothed; those of the first frame are as they are.
        """
        points_mm = np.asarray(points_mm, np.float64)
        if self._points is None:
            self._points, self._velocity = points_mm, np.zeros_like(points_mm)
            return points_mm.astype(np.float32)
        velocity = (points_mm - self._points) * self.frame_rate
        self._velocity += self._share(_SPEED_CUTOFF_HZ) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = self._share(self.min_cutoff_hz + self.beta * speed)
        self._points = self._points + share * (points_mm - self._points)
        return self._points.astype(np.float32)

    def _share(self, cutoff_hz):
        ratio = 2.0 * np.pi * cutoff_hz / self.frame_rate
        return ratio / (ratio + 1.0)
