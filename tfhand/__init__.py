"""3D hand pose from depth maps, learned without labels of real images."""

__all__ = ["__version__"]

__version__ = "0.1.0"
