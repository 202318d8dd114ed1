"""Synthetic crops against crops of rendered frames: the same hands, cameras and sensors.

Run as

    python benchmarks/sensor_crops.py --output=sensor_crops.json

Training draws crops without frames (`tfhand.synthesis.samples`). Here the template's mesh is cast
on the rays of a camera, every reading gets the sensor's faults at the sensor's own pitch, and the
frame is cropped as recordings are. Compared are the number of foreground pixels and the mean depth
over pixels that both crops cover. Targets: 1 % and 0.3 mm, for clean readings and with faults.
"""

import dataclasses
from typing import NamedTuple

import measure
import numpy as np
import tensorflow as tf
from absl import flags

from tfhand import commands
from tfhand.geometry import crop
from tfhand.hand import surface
from tfhand.synthesis import devices, readings, samples, sensor

TARGET_PERCENT, TARGET_MM = 1.0, 0.3
SPEC = crop.CropSpec()
WALL_BEHIND_MM = 500.0
# x / z and y / z of the crop's center.
TANGENT = (0.1, -0.05)
# Steps across a reading's square, and weights of the rays there, for readings that mix what they
# cover (trapezoidal rule).
_STEPS = 4
_WEIGHTS = np.array([0.5, 1.0, 1.0, 1.0, 0.5]) / _STEPS


class Frame(NamedTuple):
    """Exact depth of a camera's pixels.

    Attributes:
        depth_mm: float32 [H, W], 0: no surface.
        fine_mm: float32 [4 H, 4 W], pixel (4 v, 4 u) on the ray of (v, u), or None.
        intrinsics: float32 [4], of `depth_mm`.
    """

    depth_mm: np.ndarray
    fine_mm: np.ndarray | None
    intrinsics: np.ndarray


def define_flags(flag_values):
    measure.define_flags(flag_values, rounds=1)
    flags.DEFINE_integer("hands", 24, "Hands a row.", 1, flag_values=flag_values)
    flags.DEFINE_list("distances", ["300", "700", "1200"], "mm.", flag_values=flag_values)
    flags.DEFINE_list("sensors", list(devices.SENSORS), "Kinds.", flag_values=flag_values)
    flags.DEFINE_integer("seed", 3, "Seed of hands and noise.", flag_values=flag_values)


def cast_rays(points_mm, faces, focal_px, principal_px, side):
    """Casts a mesh on the rays of a square image's pixels, exactly.

    Args:
        points_mm: float64 [V, 3], camera frame.
        faces: int [F, 3], wound so that their normals point outwards.
        focal_px: Focal length.
        principal_px: float64 [2].
        side: Rows and columns.

    Returns:
        float32 [side, side], mm along z, 0 where there is no surface.
    """
    z = points_mm[:, 2]
    corners = (focal_px * points_mm[:, :2] / z[:, None] + principal_px)[faces]
    # 1 / z is linear in the image.
    inverse = (1.0 / z)[faces]
    first, last = np.ceil(corners.min(1)).astype(int), np.floor(corners.max(1)).astype(int)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    # Seen from behind is only the inside of an arm that is cut off.
    keep = (last >= first).all(1) & (area < -1e-9)
    corners, inverse, first, last, a, b, area = (
        x[keep] for x in (corners, inverse, first, last, a, b, area)
    )
    nearest = np.zeros(side * side)
    columns, rows = (last - first).max(axis=0, initial=-1) + 1
    for i in range(columns):
        for j in range(rows):
            pixel = first + [i, j]
            s = np.flatnonzero(((pixel <= last) & (pixel >= 0) & (pixel < side)).all(1))
            offset = pixel[s] - corners[s, 0]
            u = (offset[:, 0] * b[s, 1] - offset[:, 1] * b[s, 0]) / area[s]
            v = (a[s, 0] * offset[:, 1] - a[s, 1] * offset[:, 0]) / area[s]
            hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1.0 + 1e-6)
            weights = np.stack([1.0 - u - v, u, v], axis=1)
            value = (weights * inverse[s]).sum(1)
            np.maximum.at(nearest, (pixel[s, 1] * side + pixel[s, 0])[hit], value[hit])
    depth_mm = np.divide(1.0, nearest, out=np.zeros_like(nearest), where=nearest > 0)
    return depth_mm.reshape(side, side).astype(np.float32)


def render_frame(points_mm, faces, center_mm, focal_px, with_fine):
    """Renders the window of a camera's image that the cube around a center covers: `Frame`."""
    near = max(center_mm[2] - SPEC.far_mm, 60.0)
    reach = SPEC.far_mm * (1.0 + np.abs(TANGENT).max())
    side = 2 * int(np.ceil(focal_px * reach / near) + 4) + 1
    principal = 0.5 * (side - 1) - focal_px * center_mm[:2] / center_mm[2]
    depth_mm, fine_mm = (
        cast_rays(points_mm, faces, scale * focal_px, scale * principal, scale * side)
        if scale == 1 or with_fine
        else None
        for scale in (1, _STEPS)
    )
    return Frame(depth_mm, fine_mm, np.float32([focal_px, focal_px, *principal]))


def mix_surfaces(fine_mm):
    """Returns the mean depth over each reading's square, from `Frame.fine_mm` with a wall."""
    for axis in (0, 1):
        middle = len(_WEIGHTS) // 2
        fine_mm = sum(w * np.roll(fine_mm, middle - i, axis) for i, w in enumerate(_WEIGHTS))
    return fine_mm[::_STEPS, ::_STEPS]


def read_frame(frame, kind, z_mm, rng):
    """Draws every reading of a frame with a sensor's faults, one by one.

    Args:
        frame: `Frame`.
        kind: `devices.DepthSensor`.
        z_mm: Distance of the crop's center.
        rng: `np.random.Generator`.

    Returns:
        float32 [H, W], mm, 0: no reading.
    """
    wall_mm = z_mm + WALL_BEHIND_MM
    exact = np.where(frame.depth_mm > 0, frame.depth_mm, wall_mm)
    side = len(exact)
    window = max(round(kind.window_px), 1)

    def draw_windows(draw):
        small = draw((-(-side // window),) * 2)
        return np.kron(small, np.ones((window, window)))[:side, :side]

    if kind.flying:
        mixed = mix_surfaces(np.where(frame.fine_mm > 0, frame.fine_mm, wall_mm))
        exact = np.where(np.isclose(mixed, exact, atol=10.0), exact, mixed)
    pixel_mm = z_mm / kind.focal_px
    steps = [exact - np.roll(exact, 1, axis) for axis in (0, 1)]
    slopes = [np.where(np.abs(s) < 12.0 * pixel_mm, s / pixel_mm, 0.0) for s in steps]
    grazing = 0.5 * np.minimum(np.hypot(*slopes) / kind.steep, 2.0) ** 3
    lost = rng.random(exact.shape) < grazing
    base = kind.focal_px * kind.baseline_mm
    if base:
        column = np.arange(side) + base / exact
        lost |= np.maximum.accumulate(column, axis=1) > column + sensor.SHADOW_MARGIN_PX
    place = tuple(
        np.clip(np.rint(axis + kind.jitter_px * draw_windows(rng.standard_normal)), 0, side - 1)
        for axis in np.indices(exact.shape)
    )
    place = tuple(axis.astype(int) for axis in place)
    exact, lost = exact[place], lost[place]
    depth_mm = exact
    if base:
        disparity = base / exact + kind.disparity_noise_px * draw_windows(rng.standard_normal)
        if kind.disparity_step_px:
            step = kind.disparity_step_px
            disparity = np.maximum(np.rint(disparity / step), 1.0) * step
        depth_mm = base / disparity
    noise_mm = kind.range_noise_mm * exact / 1000.0
    depth_mm = depth_mm + noise_mm * draw_windows(rng.standard_normal)
    lost |= draw_windows(rng.random) < kind.dropout
    for cells in readings.HOLES:
        count = max(round(cells * side * pixel_mm / SPEC.cube_mm), 1)
        coarse = rng.normal(size=(1, count, count)).astype(np.float32)
        field = sensor.smooth_field(tf.constant(coarse), side, side)[0].numpy()
        lost |= field > sensor.share_threshold(0.5 * kind.hole_share).numpy()
    return np.where(lost, 0.0, depth_mm).astype(np.float32)


def record_crops(hands, kind, rng):
    """Returns crops of rendered frames, clean and with faults: float32 [B, S, S] each."""
    mesh = surface.load_mesh()
    features = tf.constant(surface.skinning_features(mesh))
    corners = mesh.points_mm[mesh.faces]
    lowest = corners[..., 1].min(axis=1)
    volume = np.einsum("fd,fd->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    outwards = mesh.faces if volume > 0 else mesh.faces[:, ::-1]
    crops = []
    for i in range(len(hands.arm_mm)):
        pose = (x[i : i + 1] for x in (hands.angles, hands.shape, hands.rotation))
        points = surface.pose_points(features, *pose)[0].numpy().T - hands.middle_mm[i].numpy()
        center = hands.cameras.center_mm[i].numpy()
        faces = outwards[lowest > -min(hands.arm_mm[i].numpy(), samples.ARM_MM)]
        args = points.astype(float) + center, faces, center.astype(float), kind.focal_px
        frame = render_frame(*args, with_fine=kind.flying > 0)
        frames = np.stack([frame.depth_mm, read_frame(frame, kind, center[2], rng)])
        pair = [np.tile(x, (2, 1)) for x in (frame.intrinsics, center)]
        crops.append(crop.crop_depth(frames, *pair, SPEC).numpy())
    return np.stack(crops, axis=1)


def with_camera(hands, kind, z_mm):
    """Returns the hands before a sensor of a kind, none of it drawn."""
    count = len(hands.arm_mm)
    values = {name: tf.fill([count], float(x)) for name, x in dataclasses.asdict(kind).items()}
    center = np.float32([TANGENT[0] * z_mm, TANGENT[1] * z_mm, z_mm])
    return hands._replace(cameras=devices.Cameras(tf.constant(np.tile(center, (count, 1))), values))


def compare(synthetic, recorded):
    """Returns (foreground that synthetic crops have more, %; how much deeper they lie, mm)."""
    a, b = (crop.foreground_mask(x, SPEC.cube_mm) for x in (synthetic, recorded))
    return 100.0 * (a.sum() / b.sum() - 1.0), float((synthetic - recorded)[a & b].mean())


def main(flag_values):
    report = measure.Report(__file__, "Synthetic crops against crops of frames")
    noise, rng = (
        tf.random.Generator.from_seed(flag_values.seed),
        np.random.default_rng(flag_values.seed),
    )
    drawn, _ = samples.draw_hands(noise, flag_values.hands)
    rows = []
    for name in flag_values.sensors:
        kind = devices.SENSORS[name]
        for z_mm in map(float, flag_values.distances):
            hands = with_camera(drawn, kind, z_mm)
            recorded = record_crops(hands, kind, rng)
            draws = readings.draw(noise, flag_values.hands, SPEC)
            clean = samples.render_crops(hands, SPEC).numpy()
            faulty = samples.render_crops(hands, SPEC, draws=draws).numpy()
            lost = compare(recorded[1], recorded[0])
            row = (*compare(clean, recorded[0]), *compare(faulty, recorded[1]), *lost)
            rows.append((f"{name}, {z_mm:.0f} mm", *row))
            print(rows[-1], flush=True)
    columns = [
        f"{what}, {unit}"
        for what in ("clean", "with faults", "faults of the frames")
        for unit in ("%", "mm")
    ]
    report.table(f"{flag_values.hands} hands", ["sensor", *columns], rows)
    for first, what in ((1, "clean"), (3, "with faults")):
        worst = [max(abs(row[first + i]) for row in rows) for i in (0, 1)]
        report.target(f"{what}: foreground, %", worst[0], most=TARGET_PERCENT)
        report.target(f"{what}: depth, mm", worst[1], most=TARGET_MM)
    report.write(flag_values.output)


if __name__ == "__main__":
    commands.run(main, define_flags)
