"""The file that holds the hand's skin and spheres, made by `make_asset.py`."""

import importlib.resources

import h5py
import numpy as np

__all__ = ["PATH", "read_group"]

PATH = importlib.resources.files("tfhand.hand") / "assets" / "hand.h5"


def read_group(group: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads a group of the asset.

    Args:
        group: "skin" or "spheres".

    Returns:
        Arrays by name, and the names of the template's bones that they belong to.

    Raises:
        ValueError: If the file is not there or damaged: the installation is.
    """
    try:
        with PATH.open("rb") as stream, h5py.File(stream, "r") as file:
            return {name: data[:] for name, data in file[group].items()}, list(file.attrs["bones"])
    except Exception as error:  # HDF5 raises errors of many kinds on damaged files.
        raise ValueError(
            f"Expected the hand asset in {PATH}, found a damaged file: {error}"
        ) from error
