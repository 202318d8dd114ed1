"""The two terms that compare spheres with depth maps (section 3.4.1, equations 5 and 9).

Both take the spheres of every view i in the crop frame of every view j (see `view_pairs`) and the
observation of the views j, and give one value a sample: the mean over V x V pairs, in mm. What a
pixel or point adds ends at `clamp_mm`, so that outliers and surfaces that the model cannot explain
do not dominate; beyond it there is no gradient. Pairs whose view j shows nothing of the hand take
no part: they say nothing about it, often because the crop missed it.
"""

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.losses import view_pairs
from tfhand.rendering import distance, spheres

__all__ = ["data_to_model", "grow_radii", "model_to_data"]


def model_to_data(projected_mm, radii_mm, observation):
    """L1 difference between rendered and observed depth, equation 5.

    The mean over those pixels where the rendering or the input shows a surface, of

        min(abs(rendered - depth), clamp)   where both do,
        clamp                               where only one does: a hole, a wrong silhouette.

    Pixels that are background in both do not count, so the size of the hand in the crop does not
    change the balance of the terms. Nor do pixels whose surface is not that of the hand.

    Note: a pixel that only one shows has no gradient: the rendering has none there (equation 6),
    and a hole of the sensor must not push. `data_to_model` and `silhouette` pull instead. The set
    of pixels in the mean counts as constant. No gradient to the depth.

    Args:
        projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, spheres of view i in the crop frame of
            view j.
        radii_mm: float32 `[N]` or `[B, N]`, mm.
        observation: `Observation` of the views j.

    Returns:
        float32 `[B]`, mm; 0 for a sample without any surface of a hand.

    Raises:
        ValueError: If the shapes do not fit.
    """
    spec, depth_mm = observation.spec, observation.depth_mm
    centers, radii = view_pairs.fold_pairs(projected_mm, radii_mm, observation)
    rendered = spheres.render_depth(
        centers,
        radii,
        image_size=spec.image_size,
        cube_mm=spec.cube_mm,
        stride=observation.stride,
    )
    pair_shape = tf.shape(projected_mm)[:3]
    rendered = tf.reshape(rendered, tf.concat([pair_shape, depth_mm.shape[2:]], axis=0))
    return view_pairs.mean_over_pairs(
        _image_difference(
            rendered,
            depth_mm,
            observation.is_surface,
            observation.is_hand,
            spec.cube_mm,
            observation.clamp_mm,
        ),
        tf.reduce_any(observation.is_hand, axis=[3, 4]),
        observation.pair_weights,
    )


def data_to_model(projected_mm, radii_mm, observation):
    """Distance from observed points to the surface of the model, equations 9-11.

    The mean over the points of the hand of `min(distance, clamp)`; the paper sums.

    Note: each point pulls its nearest sphere only; points at `clamp_mm` or more pull none. No
    gradient to the depth.

    Args:
        projected_mm: float32 `[B, Vi, Vj, N, 3]`, mm, spheres of view i in the crop frame of
            view j.
        radii_mm: float32 `[N]` or `[B, N]`, mm.
        observation: `Observation` of the views j.

    Returns:
        float32 `[B]`, mm; 0 for a sample without any point of a hand.

    Raises:
        ValueError: If the shapes do not fit.
    """
    points, is_hand = observation.points_mm, observation.is_hand
    centers, radii = view_pairs.fold_pairs(projected_mm, radii_mm, observation)
    pair_shape, num_points = tf.shape(projected_mm)[:3], points.shape[2]
    is_hand = tf.reshape(is_hand, tf.concat([tf.shape(is_hand)[:3], [num_points]], axis=0))
    points = tf.broadcast_to(
        points[:, tf.newaxis], tf.concat([pair_shape, [num_points, 3]], axis=0)
    )
    distances = distance.nearest_surface_distance(
        tf.reshape(points, [-1, num_points, 3]), centers, radii
    )
    distances = tf.reshape(distances, tf.concat([pair_shape, [num_points]], axis=0))
    return view_pairs.mean_over_pairs(
        _clamped_mean(distances, is_hand, observation.clamp_mm),
        tf.reduce_any(is_hand, axis=3),
        observation.pair_weights,
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
        margin_px: Pixels.

    Returns:
        float32 `[...]`, mm.
    """
    return radii_mm + margin_px * spec.pixel_mm


@tf.function(jit_compile=True, autograph=False)
def _image_difference(rendered, depth, is_surface, is_hand, cube_mm, clamp_mm):
    """Mean over pixels, `[B, Vi, Vj]`, of `[B, Vi, Vj, T, T]` against `[B, Vj, T, T]`."""
    # A NaN reading is background, and must not reach the gradient of the difference.
    depth = tf.where(is_surface, depth, 0.0)[:, tf.newaxis]
    is_rendered = crop.foreground_mask(rendered, cube_mm)
    is_overlap = is_rendered & is_hand
    is_union = is_hand | (is_rendered & ~is_surface[:, tf.newaxis])
    difference = tf.minimum(tf.abs(rendered - depth), clamp_mm)
    difference = tf.where(is_overlap, difference, tf.where(is_union, clamp_mm, 0.0))
    count = tf.reduce_sum(tf.cast(is_union, tf.float32), axis=[3, 4])
    return tf.reduce_sum(difference, axis=[3, 4]) / tf.maximum(count, 1.0)


@tf.function(jit_compile=True, autograph=False)
def _clamped_mean(distances, mask, clamp_mm):
    """Mean over the points of a mask, `[B, Vi, Vj]`, of `[B, Vi, Vj, P]`."""
    clamped = tf.where(mask, tf.minimum(distances, clamp_mm), 0.0)
    count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=3)
    return tf.reduce_sum(clamped, axis=3) / tf.maximum(count, 1.0)
