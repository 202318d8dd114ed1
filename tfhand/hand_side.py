"""Whether a stream shows a right or a left hand, decided over time."""

import numpy as np

__all__ = ["HandSide"]

# Difference of the doubts, summed over frames, from which the side is decided, and the most that
# is kept. A frame is worth 0.05 to 0.2 on average, now and then less than nothing.
_ENOUGH, _MOST = 0.5, 1.0


class HandSide:
    """Sums up which of both hands the network doubts less.

    A side that was decided stays until the sum says as much for the other.

    Attributes:
        is_left: True for the left hand; the right one until something is decided.
    """

    def __init__(self, is_left: bool = False):
        """Starts undecided."""
        self.is_left, self._sum = is_left, 0.0

    @property
    def is_decided(self) -> bool:
        """Whether frames have said enough."""
        return abs(self._sum) >= _ENOUGH

    def add(self, right_doubt: float, left_doubt: float) -> None:
        """Adds the doubts (`hand_center`) about a frame taken for either hand."""
        self._sum = float(np.clip(self._sum + right_doubt - left_doubt, -_MOST, _MOST))
        if self.is_decided:
            self.is_left = self._sum > 0.0

    def forget(self) -> None:
        """Starts undecided again: the hand was lost, and the next one may be the other."""
        self._sum = 0.0
