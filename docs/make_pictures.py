"""Draws the pictures of the documentation.

    python docs/make_pictures.py --output_dir=docs/images

hand.png        the hand at rest, palm, side and back, shaded
spheres.png     its 41 spheres, and the denser surface interpolated from them, over the skin
poses.png       twenty sampled poses of sampled people
crops.png       synthetic crops, clean and with the sensor's faults
recording.png   samples of the embedded recording, three views each

Takes a minute.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from absl import flags
from matplotlib.figure import Figure

from data_prep import inspect, records
from data_prep.synthetic import embedded
from tfhand import commands
from tfhand.geometry import crop
from tfhand.hand import pose_sampling, skeleton, spheres, surface, template
from tfhand.synthesis import depth, readings, samples

SPEC = crop.CropSpec(image_size=320, cube_mm=240.0)
# Two or three points a pixel; the few holes that they leave are filled.
SKIN_POINTS = 400000
SKIN_COLOR = np.array([0.93, 0.74, 0.62])
PART_COLORS = {
    "PALM": (0.62, 0.62, 0.66),
    "INDEX": (0.26, 0.52, 0.86),
    "MIDDLE": (0.22, 0.66, 0.48),
    "RING": (0.93, 0.70, 0.22),
    "PINKY": (0.86, 0.38, 0.32),
    "THUMB": (0.58, 0.42, 0.76),
}
# Rows are the camera's x (right), y (down) and z (away) axes in the hand frame.
PALM_VIEW = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
BACK_VIEW = np.diag([-1.0, -1.0, 1.0]).astype(np.float32)
THUMB_VIEW = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], np.float32)
# Middle of the hand, the middle of the pictures, in the hand frame.
MIDDLE_MM = np.array([4.0, 82.0, 4.0], np.float32)


def shade(depth_mm, spec, color):
    """Lights a depth map from the upper left, [S, S, 3]; the background is white."""
    mask = crop.foreground_mask(depth_mm, spec.cube_mm).numpy()
    # Slopes over edges would be cliffs: they stay below 80 degrees.
    slope_y, slope_x = (np.clip(s, -6, 6) for s in np.gradient(depth_mm, spec.pixel_mm))
    normal = np.stack([slope_x, slope_y, np.ones_like(slope_x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    # The normal's z points at the camera here.
    light = np.array([-0.35, -0.45, 0.82])
    brightness = 0.25 + 0.8 * np.clip(normal @ light, 0, 1)
    return np.where(mask[..., None], np.clip(brightness[..., None] * color, 0, 1), 1.0)


def draw_skin(angles, shape, view, middle_mm, spec=SPEC):
    """Depth of the posed skin seen along `view` [3, 3], [S, S]; middle_mm is in the hand frame."""
    skin = surface.sample_skin(SKIN_POINTS, arm_mm=100.0)
    features = tf.constant(surface.skinning_features(skin))
    posed = surface.pose_points(features, angles, shape, view[None])
    posed -= (view @ middle_mm)[None, :, None]
    image = depth.splat_orthographic(posed, spec)
    for _ in range(3):
        image = depth.fill_pinholes(image, step_mm=2.0)
    return image.numpy()[0]


def sphere_pixels(centers, radii, spec):
    """Depth [S, S] of spheres [N, 3] and which of them each pixel sees."""
    ray = crop.pixel_centers_mm(spec).numpy()
    nearest, winner = np.full((len(ray), len(ray)), spec.far_mm), np.zeros((len(ray),) * 2, int)
    for n, ((x, y, z), r) in enumerate(zip(centers, radii, strict=True)):
        inside = r**2 - (ray[None, :] - x) ** 2 - (ray[:, None] - y) ** 2
        front = np.where(inside > 0, z - np.sqrt(np.maximum(inside, 0)), spec.far_mm)
        winner = np.where(front < nearest, n, winner)
        nearest = np.minimum(front, nearest)
    return nearest.astype(np.float32), winner


def part_colors(weights):
    """Color of spheres that mix the 41 by `weights` [M, 41], [M, 3]."""
    parts = [PART_COLORS[name.split("_")[0]] for name in skeleton.SPHERE_NAMES]
    return weights @ np.array(parts)


def show(axes, picture, title=""):
    """Shows a picture without frame."""
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)


def rest():
    """Angles [1, 23] and shape [1, P] of the hand at rest."""
    return np.zeros((1, 23), np.float32), np.zeros((1, len(template.SHAPE_NAMES)), np.float32)


def hand_picture():
    """The hand at rest from three sides."""
    figure = Figure(figsize=(9, 3.3), dpi=110, layout="constrained")
    views = {"palm": PALM_VIEW, "thumb's side": THUMB_VIEW, "back": BACK_VIEW}
    for axes, (name, view) in zip(figure.subplots(1, 3), views.items(), strict=True):
        show(axes, shade(draw_skin(*rest(), view, MIDDLE_MM), SPEC, SKIN_COLOR), name)
    return figure


def spheres_picture():
    """The 41 spheres and the denser surface, with the skin as a shadow around them."""
    model = spheres.load()
    few = spheres.pose_spheres(*rest())
    many = spheres.dense_spheres(*few)
    figure = Figure(figsize=(9, 6.4), dpi=110, layout="constrained")
    rows = figure.subplots(2, 3)
    for column, (centers, radii, weights) in enumerate(
        [(*few, np.eye(41)), (*many, model.dense_weights)]
    ):
        for row, view in enumerate((PALM_VIEW, BACK_VIEW)):
            in_view = (centers.numpy()[0] - MIDDLE_MM) @ view.T
            depth_mm, winner = sphere_pixels(in_view, radii.numpy()[0], SPEC)
            picture = shade(depth_mm, SPEC, part_colors(weights)[winner])
            skin = draw_skin(*rest(), view, MIDDLE_MM)
            bare = crop.foreground_mask(skin, SPEC.cube_mm).numpy()
            bare &= ~crop.foreground_mask(depth_mm, SPEC.cube_mm).numpy()
            picture[bare] = 0.8
            show(rows[row, column], picture, f"{len(in_view)} spheres" if row == 0 else "")
            # Where spheres show through the skin and where the skin lies over them.
            if column == 1:
                gap = np.where(skin < SPEC.far_mm, np.clip(depth_mm - skin, -6, 6), np.nan)
                rows[row, 2].imshow(gap, cmap="coolwarm", vmin=-6, vmax=6)
                rows[row, 2].set_axis_off()
    rows[0, 2].set_title("behind (red), before (blue) the skin: 6 mm", fontsize=9)
    return figure


def poses_picture(seed=7):
    """Twenty poses of people of different shape, seen from the palm and a little from the side."""
    rng = tf.random.Generator.from_seed(seed)
    angles, shape = pose_sampling.sample_angles(rng, 20), pose_sampling.sample_shape(rng, 20)
    spec = crop.CropSpec(image_size=260, cube_mm=270.0)
    # Larger hands reach higher.
    middle = MIDDLE_MM + np.array([0.0, 12.0, 0.0], np.float32)
    figure = Figure(figsize=(11, 9), dpi=100, layout="constrained")
    for i, axes in enumerate(figure.subplots(4, 5).flat):
        cos, sin = np.cos(np.radians(-35.0)), np.sin(np.radians(-35.0))
        rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        view = (PALM_VIEW @ rotation).astype(np.float32)
        skin = draw_skin(angles[i : i + 1], shape[i : i + 1], view, middle, spec)
        show(axes, shade(skin, spec, SKIN_COLOR))
    return figure


def crops_picture(seed=3, columns=12):
    """Synthetic crops: clean ones, and the same with the sensor's faults, in pairs of rows."""
    rng, spec = tf.random.Generator.from_seed(seed), crop.CropSpec()
    hands, _ = samples.draw_hands(rng, 3 * columns)
    clean = samples.render_crops(hands, spec)
    noisy = samples.render_crops(hands, spec, draws=readings.draw(rng, 3 * columns, spec))
    figure = Figure(figsize=(1.1 * columns, 7.0), dpi=100, layout="constrained")
    grid = figure.subplots(6, columns)
    for i in range(3 * columns):
        row, column = divmod(i, columns)
        for offset, image in enumerate((clean[i].numpy(), noisy[i].numpy())):
            axes = grid[2 * row + offset, column]
            mask = crop.foreground_mask(image, spec.cube_mm).numpy()
            axes.imshow(np.where(mask, image, np.nan), cmap="viridis_r")
            axes.set_axis_off()
    return figure


def recording_picture(num_samples=48):
    """Samples of an embedded recording that is made for the purpose."""
    with tempfile.TemporaryDirectory() as folder:
        recording = embedded.RecordingOptions(num_samples, crop.CropSpec(), num_shards=1)
        embedded.write(folder, recording)
        dataset = records.load_dataset(folder, "train").as_numpy_iterator()
        drawn = [sample for i, sample in enumerate(dataset) if i % 2 == 0][:16]
    return inspect.draw_contact_sheet(drawn, 300.0)


PICTURES = {
    "hand": hand_picture,
    "spheres": spheres_picture,
    "poses": poses_picture,
    "crops": crops_picture,
    "recording": recording_picture,
}


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string("output_dir", "docs/images", "Folder to write to.", flag_values=flag_values)
    flags.DEFINE_list(
        "only", list(PICTURES), f"Which of {', '.join(PICTURES)}.", flag_values=flag_values
    )


def main(options):
    """Runs the command."""
    unknown = set(options.only) - set(PICTURES)
    if unknown:
        raise ValueError(f"Expected pictures among {list(PICTURES)}, received {sorted(unknown)}.")
    folder = pathlib.Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        PICTURES[name]().savefig(folder / f"{name}.png")
        print(folder / f"{name}.png")


if __name__ == "__main__":
    commands.run(main, define_flags)
