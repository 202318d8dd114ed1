"""Depth sensors by their physical parameters, and cameras drawn from them.

Kinds of sensor differ in numbers alone, so a batch may mix them in one graph. Not in the paper,
whose noise is unspecified ("random noise", section 4.1). Values are typical of a kind; each sample
draws its own around them.
"""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

__all__ = ["SENSORS", "Cameras", "DepthSensor", "draw_cameras"]

# Lowest and highest factor on a typical value: the build of a sensor is fixed within a kind but for
# its lens, the strength of its faults depends on light and skin.
_SPREAD = {
    "focal_px": (0.85, 1.15),
    "baseline_mm": (1.0, 1.0),
    "disparity_step_px": (1.0, 1.0),
    "window_px": (0.7, 1.3),
    "steep": (0.8, 3.0),
}
_STRENGTH = (0.0, 2.0)


@dataclasses.dataclass(frozen=True)
class DepthSensor:
    """A kind of depth sensor.

    Attributes:
        focal_px: Focal length, px: at distance z readings lie z / focal_px apart.
        baseline_mm: From the camera to projector or second camera, mm; 0 where there is none.
        disparity_noise_px: Deviation of the disparity, px; in depth it grows with z^2.
        disparity_step_px: Disparity is rounded to such steps, px; 0: not rounded.
        range_noise_mm: Deviation of depth at 1 m, mm, growing with z.
        window_px: Side of the window of readings that share their noise.
        jitter_px: Deviation of the place that is read, px: frayed edges.
        dropout: Share of single readings that are lost.
        steep: Slope (depth per side step) at which half of the readings are lost.
        hole_share: Share of the image that is lost in connected patches.
        flying: Width of the rim of an edge whose readings mix both surfaces, px.
    """

    focal_px: float
    baseline_mm: float = 0.0
    disparity_noise_px: float = 0.0
    disparity_step_px: float = 0.0
    range_noise_mm: float = 0.0
    window_px: float = 1.0
    jitter_px: float = 0.0
    dropout: float = 0.0
    steep: float = 10.0
    hole_share: float = 0.0
    flying: float = 0.0


SENSORS = {
    # Kinect: 588 px, 75 mm, steps of 1/8 px, error of half a step (Khoshelham and Elberink,
    # "Accuracy and resolution of Kinect depth data", Sensors, 2012).
    "structured_light": DepthSensor(
        focal_px=588.0,
        baseline_mm=75.0,
        disparity_noise_px=0.06,
        disparity_step_px=0.125,
        jitter_px=0.8,
        steep=4.0,
        hole_share=0.015,
    ),
    # Kinect v2: 365 px. At an edge a reading's square covers both surfaces; most of these readings
    # are dropped.
    "time_of_flight": DepthSensor(
        focal_px=365.0, range_noise_mm=2.0, jitter_px=0.3, dropout=0.02, steep=6.0,
        hole_share=0.01, flying=0.25,
    ),
    # RealSense D435 at 640 x 480: 385 px, 50 mm; its matches compare windows.
    "stereo": DepthSensor(
        focal_px=385.0, baseline_mm=50.0, disparity_noise_px=0.08, disparity_step_px=1.0 / 32.0,
        window_px=5.0, jitter_px=1.5, dropout=0.05, steep=6.0, hole_share=0.03,
    ),
}  # fmt: skip


class Cameras(NamedTuple):
    """Cameras of B samples.

    Attributes:
        center_mm: float32 [B, 3], of the crop, camera frame.
        sensor: Dict of the attributes of `DepthSensor`, float32 [B].
    """

    center_mm: tf.Tensor
    sensor: dict


def draw_cameras(rng, batch, kinds, distance_mm, off_axis):
    """Draws a sensor, its strengths and its place for every sample.

    Args:
        rng: `tf.random.Generator`.
        batch: Number of samples B, int.
        kinds: Sequence of `DepthSensor` to draw from.
        distance_mm: Lowest and highest distance of the crop's center.
        off_axis: Largest x / z and y / z of the crop's center.

    Returns:
        `Cameras`.
    """
    names = [field.name for field in dataclasses.fields(DepthSensor)]
    table = tf.constant([[getattr(kind, name) for name in names] for kind in kinds], tf.float32)
    row = tf.gather(table, rng.uniform([batch], maxval=len(kinds), dtype=tf.int32))
    spread = tf.constant([_SPREAD.get(name, _STRENGTH) for name in names])
    factor = spread[:, 0] + (spread[:, 1] - spread[:, 0]) * rng.uniform([batch, len(names)])
    z_mm = rng.uniform([batch, 1], *distance_mm)
    center_mm = tf.concat([off_axis * rng.uniform([batch, 2], -1.0, 1.0), z_mm / z_mm], axis=1)
    columns = tf.unstack(row * factor, num=len(names), axis=1)
    return Cameras(center_mm * z_mm, dict(zip(names, columns)))
