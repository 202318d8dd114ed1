"""Pretrained network and prior of a run, or of the package, and how they were made."""

import pathlib

from tfhand import files
from tfhand.models import package_weights

__all__ = ["NONE", "find_pretrained", "read_settings"]

# `--init_from` of a run that trains both itself.
NONE = "none"
STAGES = ("init", "prior")


def find_pretrained(init_from, requested):
    """Finds what `--init_from` names, and compares it with the settings that were asked for.

    Args:
        init_from: "none", "shipped" (the package's weights), or the folder of a run.
        requested: Dict from a stage, "init" or "prior", to the settings that the user gave, by
            name.

    Returns:
        `pathlib.Path` with the finished stages, or None if they are to be made.

    Raises:
        FileNotFoundError: If they are not there.
        ValueError: If they were made with other settings.
    """
    if init_from == NONE:
        return None
    is_package = init_from == package_weights.NAME
    folder = package_weights.FOLDER if is_package else pathlib.Path(init_from)
    for stage in STAGES:
        if not (folder / stage / "done.json").is_file():
            raise FileNotFoundError(
                f"Expected --init_from={NONE}, {package_weights.NAME} or a run with a finished "
                f"stage {stage}, found none in {folder}."
            )
        settings = read_settings(folder, stage)
        for name, value in requested[stage].items():
            if settings.get(name) != value:
                raise ValueError(
                    f"Expected the settings that --init_from={init_from} was made with, {name}="
                    f"{settings.get(name)} in its stage {stage}, received {value}. --init_from="
                    f"{NONE} trains the stage with yours."
                )
    return folder


def read_settings(folder, stage):
    """Returns the settings of a stage of a run, by name.

    Raises:
        ValueError: If there are none.
    """
    settings = files.read_json(folder / stage / "settings.json")
    if not isinstance(settings, dict):
        raise ValueError(f"Expected settings of the stage {stage} in {folder}, found none.")
    return settings
