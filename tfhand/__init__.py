"""3D hand pose from depth maps, learned without labels of real images."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfhand.estimator import PoseEstimator

__all__ = ["PoseEstimator", "__version__"]

__version__ = "0.2.0"


def __getattr__(name):
    # TensorFlow takes seconds to import, so it is left to those who need it.
    if name == "PoseEstimator":
        from tfhand.estimator import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
