"""The flags of a run as a whole, written so that they repeat it."""

import copy
import os

__all__ = ["PATHS", "into_string", "own_values"]

# Flags that name a place, which another machine may call by another name.
PATHS = ("workdir", "data_dir", "init_from")
# Values that are no place.
_NO_PATHS = ("none", "shipped")


def into_string(values):
    """Returns the flags as a flagfile that repeats the run from any folder.

    Args:
        values: Parsed absl `FlagValues` of `tfhand.train`.
    """
    values = copy.deepcopy(values)
    if values.init_from != "none":
        # Of stages that this run takes as they are: their defaults were not asked for.
        for name in list(values):
            is_pretraining_flag = name.startswith(("init_", "prior_")) and name != "init_from"
            if is_pretraining_flag and not values[name].present:
                delattr(values, name)
    for name in PATHS:
        path = values[name].value
        # Records may lie in an object store.
        if path and path not in _NO_PATHS and "://" not in path:
            values[name].value = os.path.abspath(path)
    return values.flags_into_string()


def own_values(values):
    """Returns the flags of the command as a dict, without those of absl itself.

    Args:
        values: Parsed absl `FlagValues` of `tfhand.train`.
    """
    own = [flag for flags in values.flags_by_module_dict().values() for flag in flags]
    return {flag.name: flag.value for flag in own if flag.name != "help"}
