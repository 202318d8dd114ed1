"""The recording of the tests of training."""

from tests.training.conftest import batch, hands_mm, recording, spec

__all__ = ["batch", "hands_mm", "recording", "spec"]
