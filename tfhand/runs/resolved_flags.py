"""The flags of a run as a whole, written so that they repeat it."""

import copy
import os

__all__ = ["PATHS", "to_dict", "to_flagfile"]

# Flags that name a place, which another machine may call by another name.
PATHS = ("workdir", "data_dir", "init_from")
# Values that are no place.
_NO_PATHS = ("none", "shipped")


def to_flagfile(flag_values):
    """Returns the flags as a flagfile that repeats the run from any folder.

    Args:
        flag_values: Parsed absl `FlagValues` of `tfhand.train`.
    """
    flag_values = copy.deepcopy(flag_values)
    if flag_values.init_from != "none":
        # Of stages that this run takes as they are: their defaults were not asked for.
        for name in list(flag_values):
            is_pretraining_flag = name.startswith(("init_", "prior_")) and name != "init_from"
            if is_pretraining_flag and not flag_values[name].present:
                delattr(flag_values, name)
    for name in PATHS:
        path = flag_values[name].value
        # Records may lie in an object store.
        if path and path not in _NO_PATHS and "://" not in path:
            flag_values[name].value = os.path.abspath(path)
    return flag_values.flags_into_string()


def to_dict(flag_values):
    """Returns the flags of the command as a dict, without those of absl itself.

    Args:
        flag_values: Parsed absl `FlagValues` of `tfhand.train`.
    """
    own = [flag for flags in flag_values.flags_by_module_dict().values() for flag in flags]
    return {flag.name: flag.value for flag in own if flag.name != "help"}
