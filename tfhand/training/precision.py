"""Which precision pays on the devices of this machine."""

import pathlib

import tensorflow as tf

__all__ = ["AUTO", "resolve"]

# Value of `--precision` that leaves the choice to `resolve`.
AUTO = "auto"
_CPUINFO = pathlib.Path("/proc/cpuinfo")
# Instructions that multiply numbers of 16 bits, as Linux names them.
_OF_CPU = ("avx512_bf16", "amx_bf16")
# From Ampere on.
_LEAST_CAPABILITY = (8, 0)


def resolve(precision, begun=None):
    """Returns a precision as it is, or in the place of "auto" the faster one of this machine.

    Args:
        precision: "float32", "mixed_bfloat16" or "auto".
        begun: Precision of a run that "auto" goes on with, on whatever machine; None: a new run.

    Returns:
        "mixed_bfloat16" where all GPUs, or without any the processor, have bfloat16 in hardware;
        else "float32".
    """
    if precision != AUTO:
        return precision
    if begun is not None:
        return begun
    gpus = tf.config.list_physical_devices("GPU")
    has_bfloat16 = all(map(_gpu_has_bfloat16, gpus)) if gpus else _cpu_has_bfloat16()
    return "mixed_bfloat16" if has_bfloat16 else "float32"


def _gpu_has_bfloat16(gpu):
    found = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    return found is not None and tuple(found) >= _LEAST_CAPABILITY


def _cpu_has_bfloat16():
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Not Linux: it is not known.
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return any(name in flags for name in _OF_CPU)
