"""The two terms that compare spheres with depth maps (section 3.4.1, equations 5 and 9).

Both take the spheres of every view i in the crop frame of every view j (see `projection`) and the
depth maps of the views j, and give one value a sample: the mean over V x V pairs, in mm. What a
pixel or point adds ends at `clamp_mm`, so that outliers and surfaces that the model cannot explain
do not dominate; beyond it there is no gradient. Views that are all background take no part: they
say nothing about the hand, often because the crop missed it.
"""

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.losses import pairs
from tfhand.rendering import distance, spheres

__all__ = ["data_to_model", "grow_radii", "model_to_data"]


def model_to_data(
    projected_mm,
    radii_mm,
    depth_mm,
    *,
    cube_mm,
    pair_weights=None,
    clamp_mm=50.0,
    point_mask=None,
    stride=1,
):
    """L1 difference between rendered and observed depth, equation 5.

    The mean over those pixels where the rendering or the input shows a surface, of

        min(abs(rendered - depth), clamp)   where both do,
        clamp                               where only one does: a hole, a wrong silhouette.

    Pixels that are background in both do not count, so the size of the hand in the crop does not
    change the balance of the terms.

    Note: a pixel that only one shows has no gradient: the rendering has none there (equation 6),
    and a hole of the sensor must not push. `data_to_model` and `silhouette` pull instead. The set
    of pixels in the mean counts as constant. No gradient to the depth.

    Args:
      projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, spheres of view i in the crop frame of view j.
      radii_mm: float32 `[N]` or `[B, N]`, mm.
      depth_mm: float32 `[B, Vj, S, S]`, mm relative to the crop's center, background cube_mm / 2.
      cube_mm: float, side of the crop's cube, mm.
      pair_weights: None or float32 `[B, Vi, Vj]`, weights of the mean over pairs.
      clamp_mm: float, largest difference, mm.
      point_mask: None or bool `[B, Vi or 1, Vj, S * S]`, False for readings to leave out, row by
        row as `crop.points_from_crop` lists them; for example from `forearm.point_mask`. Pixels of
        the background count whatever it says.
      stride: int, compares only every stride-th row and column, for speed.

    Returns:
      float32 `[B]`, mm; 0 for a sample without any surface. A pair of views without a reading to
        keep takes no part.

    Raises:
      ValueError: if the shapes do not fit.
    """
    projected_mm, depth_mm = pairs.check_pairs(projected_mm, depth_mm)
    centers, radii = pairs.fold_pairs(projected_mm, radii_mm)
    rendered = spheres.render_depth(
        centers, radii, image_size=depth_mm.shape[2], cube_mm=cube_mm, stride=stride
    )
    full_size = depth_mm.shape[2]
    depth_mm = _subsample(depth_mm, stride)
    size = depth_mm.shape[2]
    pair_shape = tf.shape(projected_mm)[:3]
    rendered = tf.reshape(rendered, tf.concat([pair_shape, [size, size]], axis=0))
    keep = tf.ones([1, 1, 1, size, size], tf.bool)
    if point_mask is not None:
        keep = _subsample(_as_images(point_mask, full_size), stride)
    return pairs.mean_over_pairs(
        _image_difference(rendered, depth_mm, keep, float(cube_mm), float(clamp_mm)),
        tf.reduce_any(crop.foreground_mask(depth_mm, cube_mm)[:, tf.newaxis] & keep, axis=[3, 4]),
        pair_weights,
    )


def data_to_model(
    projected_mm,
    radii_mm,
    depth_mm,
    *,
    cube_mm,
    pair_weights=None,
    clamp_mm=50.0,
    point_mask=None,
    stride=1,
):
    """Distance from observed points to the surface of the model, equations 9-11.

    The mean over the foreground points of `min(distance, clamp)`; the paper sums.

    Note: each point pulls its nearest sphere only; points at `clamp_mm` or more pull none. No
    gradient to the depth.

    Args:
      projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, spheres of view i in the crop frame of view j.
      radii_mm: float32 `[N]` or `[B, N]`, mm.
      depth_mm: float32 `[B, Vj, S, S]`, mm relative to the crop's center, background cube_mm / 2.
      cube_mm: float, side of the crop's cube, mm.
      pair_weights: None or float32 `[B, Vi, Vj]`, weights of the mean over pairs.
      clamp_mm: float, largest distance, mm.
      point_mask: None or bool `[B, Vi or 1, Vj, S * S]`, False for points to leave out, row by row
        as `crop.points_from_crop` lists them; for example from `forearm.point_mask`.
      stride: int, uses only every stride-th row and column, for speed.

    Returns:
      float32 `[B]`, mm; 0 for a sample without any point. A pair of views without a point to
        keep takes no part.

    Raises:
      ValueError: if the shapes do not fit.
    """
    projected_mm, depth_mm = pairs.check_pairs(projected_mm, depth_mm)
    size = depth_mm.shape[2]
    keep = crop.foreground_mask(depth_mm, cube_mm)[:, tf.newaxis]
    if point_mask is not None:
        keep &= _as_images(point_mask, size)
    keep = _as_rows(_subsample(keep, stride))
    points = crop.points_from_crop(depth_mm, crop.CropSpec(size, cube_mm))
    points = tf.reshape(points, tf.concat([tf.shape(depth_mm), [3]], axis=0))
    points = points[:, :, stride // 2 :: stride, stride // 2 :: stride]

    pair_shape = tf.shape(projected_mm)[:3]
    points = tf.reshape(points, tf.stack([pair_shape[0], 1, pair_shape[2], keep.shape[3], 3]))
    points = tf.broadcast_to(points, tf.concat([pair_shape, [keep.shape[3], 3]], axis=0))
    centers, radii = pairs.fold_pairs(projected_mm, radii_mm)
    distances = distance.nearest_surface_distance(
        tf.reshape(points, [-1, keep.shape[3], 3]), centers, radii
    )
    distances = tf.reshape(distances, tf.concat([pair_shape, [keep.shape[3]]], axis=0))
    return pairs.mean_over_pairs(
        _clamped_mean(distances, keep, float(clamp_mm)), tf.reduce_any(keep, axis=3), pair_weights
    )


def grow_radii(radii_mm, spec, margin_px=0.5):
    """Enlarges spheres to what a crop shows of them.

    Not in the paper. A pixel of a crop holds the nearest of all readings that fall anywhere in its
    square, and is surface as soon as one does. Against the rays through pixel centers, which
    `render_depth` draws, silhouettes are wider by about half a pixel and slopes nearer by half of
    what they rise across one. Spheres of the true size would be fitted too near, and fingers pulled
    towards their outlines.

    Args:
      radii_mm: float32 `[...]`, mm.
      spec: `crop.CropSpec` of the depth maps.
      margin_px: float, pixels.

    Returns:
      float32 `[...]`, mm.
    """
    return radii_mm + margin_px * spec.pixel_mm


@tf.function(jit_compile=True, autograph=False)
def _image_difference(rendered, depth, keep, cube_mm, clamp_mm):
    """Mean over pixels, `[B, Vi, Vj]`, of `[B, Vi, Vj, T, T]` against `[B, Vj, T, T]`.

    Readings that are not to keep are left out.
    """
    depth = tf.stop_gradient(depth)[:, tf.newaxis]
    in_rendered = crop.foreground_mask(rendered, cube_mm)
    in_depth = crop.foreground_mask(depth, cube_mm)
    keep |= ~in_depth
    # A NaN reading is background, and must not reach the gradient of the difference.
    depth = tf.where(in_depth, depth, 0.0)
    both, either = in_rendered & in_depth & keep, (in_rendered | in_depth) & keep
    difference = tf.minimum(tf.abs(rendered - depth), clamp_mm)
    difference = tf.where(both, difference, tf.where(either, clamp_mm, 0.0))
    count = tf.reduce_sum(tf.cast(either, tf.float32), axis=[3, 4])
    return tf.reduce_sum(difference, axis=[3, 4]) / tf.maximum(count, 1.0)


@tf.function(jit_compile=True, autograph=False)
def _clamped_mean(distances, keep, clamp_mm):
    """Mean over points to keep, `[B, Vi, Vj]`, of `[B, Vi, Vj, P]`."""
    clamped = tf.where(keep, tf.minimum(distances, clamp_mm), 0.0)
    count = tf.reduce_sum(tf.cast(keep, tf.float32), axis=3)
    return tf.reduce_sum(clamped, axis=3) / tf.maximum(count, 1.0)


def _subsample(images, stride):
    """The rows and columns that `render_depth` draws with this stride, of `[..., S, S]`."""
    return images[..., stride // 2 :: stride, stride // 2 :: stride]


def _as_images(point_mask, size):
    """`[B, Vi, Vj, S * S]` to `[B, Vi, Vj, S, S]`."""
    point_mask = tf.convert_to_tensor(point_mask, dtype=tf.bool)
    if point_mask.shape.rank != 4 or point_mask.shape[3] != size * size:
        raise ValueError(
            f"Expected a point mask of shape [batch, view i, view j, {size * size}], "
            f"received {point_mask.shape}."
        )
    return tf.reshape(point_mask, tf.concat([tf.shape(point_mask)[:3], [size, size]], axis=0))


def _as_rows(images):
    """`[B, Vi, Vj, T, T]` to `[B, Vi, Vj, T * T]`, with a static last axis."""
    size = images.shape[4]
    return tf.reshape(images, tf.concat([tf.shape(images)[:3], [size * size]], axis=0))
