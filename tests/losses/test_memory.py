"""Memory of the data terms: no plane for each sphere is ever kept."""

import json
import pathlib
import subprocess
import sys

import pytest

STATUS = pathlib.Path("/proc/self/status")
# A process of its own: its peak is that of the terms alone. Arguments: numbers of spheres.
PROGRAM = """
import ctypes, json, pathlib, sys
import numpy as np, tensorflow as tf
from tfhand.geometry import crop
from tfhand.losses import data_terms
from tfhand.losses.observation import observe

def status_mb(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))

@tf.function(jit_compile=True, autograph=False)
def load_compiler(x):
    return tf.math.unsorted_segment_sum(tf.sort(x), tf.zeros_like(x, tf.int32), 3)

# The first use of XLA maps some 60 MB of its code, which is no memory of the terms.
load_compiler(tf.ones([8])).numpy()
trim = ctypes.CDLL(None).malloc_trim
rng = np.random.default_rng(0)
depth = tf.constant(rng.uniform(-100.0, 150.0, size=[25, 3, 64, 64]), tf.float32)

def peak_extra_mb(count):
    centers = tf.constant(rng.normal(scale=35.0, size=[25, 3, 3, count, 3]), tf.float32)
    radii = tf.fill([count], 10.0)

    @tf.function(autograph=False)
    def step(centers):
        with tf.GradientTape() as tape:
            tape.watch(centers)
            observation = observe(depth, crop.CropSpec(64, 300.0))
            loss = data_terms.model_to_data(centers, radii, observation)
            loss += data_terms.data_to_model(centers, radii, observation)
            loss = tf.reduce_sum(loss)
        return tape.gradient(loss, centers)

    trim(0)
    before = status_mb("VmRSS")
    step(centers).numpy()
    trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    step(centers).numpy()
    return status_mb("VmHWM") - before

print(json.dumps([peak_extra_mb(int(count)) for count in sys.argv[1:]]))
"""


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux' /proc")
def test_memory_is_bounded_and_does_not_grow_with_the_spheres():
    command = [sys.executable, "-c", PROGRAM, "41", "164"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = json.loads(run.stdout)
    assert few < 200.0
    # A plane of 225 renders takes 3.7 MB: 123 more of them would take 453 MB, forward alone.
    assert many < few + 60.0
