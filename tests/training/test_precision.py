"""The precision that a machine is best at."""

import pytest
import tensorflow as tf

from tfhand.training import precision


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Returns a function that makes this machine one of other processors and GPUs."""

    def make(cpuinfo, capabilities=()):
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo)
        monkeypatch.setattr(precision, "_CPUINFO", path)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(capabilities))
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda found: {"compute_capability": found} if found else {},
        )

    return make


@pytest.mark.parametrize("given", ["float32", "mixed_bfloat16"])
def test_what_is_given_stays(machine, given):
    machine("flags : fpu avx512_bf16", [(7, 0)])
    assert precision.resolve(given) == given


@pytest.mark.parametrize("begun", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("cpuinfo", ["flags : avx512_bf16", ""])
def test_a_run_that_was_begun_keeps_its_precision(machine, cpuinfo, begun):
    machine(cpuinfo)
    assert precision.resolve("auto", begun) == begun
    assert precision.resolve("float32", begun) == "float32"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor : 0\nflags : fpu avx512_bf16 sse\n", "mixed_bfloat16"),
        ("flags : fpu amx_bf16\n", "mixed_bfloat16"),
        ("flags : fpu avx512f avx512_bf16_like\n", "float32"),
        ("model : avx512_bf16\n", "float32"),
        ("", "float32"),
        (None, "float32"),
    ],
)
def test_a_processor(machine, cpuinfo, expected):
    machine(cpuinfo)
    assert precision.resolve("auto") == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "float32"),
        ([None], "float32"),
    ],
)
def test_gpus_decide_where_there_are_any(machine, capabilities, expected):
    machine("flags : avx512_bf16", capabilities)
    assert precision.resolve("auto") == expected
