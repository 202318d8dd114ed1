"""Differentiable orthographic rendering of spheres (section 3.4.1, equations 6-8).

Letters used here: `(x, y, z, r)` is a sphere in crop coordinates, `(u, v)` the point in mm where
the ray of a pixel meets the image plane, and `q = r^2 - (x - u)^2 - (y - v)^2` the square of half
the chord that the ray cuts. The ray meets the sphere where `q >= 0`, at depth `z - sqrt(q)`.

The renderer is a z-buffer: it visits one sphere after the other and keeps one integer a pixel,
which orders by depth and carries the index of the sphere. No `[batch, sphere, row, column]` tensor
ever exists. Forward and backward pass are one XLA program each; the backward pass computes the
winning sphere of each pixel again instead of keeping anything but its index.
"""

import tensorflow as tf

from tfhand.geometry import crop
from tfhand.rendering import packed_index

__all__ = ["MIN_HALF_CHORD_MM", "render_depth", "winning_sphere"]

# A sphere's slope is unbounded at its silhouette. The backward pass divides by no less than this,
# which touches a share of r^-2 of a sphere's pixels (1 % at r = 10 mm).
MIN_HALF_CHORD_MM = 1.0


def render_depth(centers_mm, radii_mm, *, image_size, cube_mm, stride=1):
    """Renders the depth map of a union of spheres, equations 6-8.

    `depth(u, v) = min_j z_j - sqrt(r_j^2 - d_j(u, v)^2)` over the spheres j that the ray meets.
    Programs are compiled once for every shape of the arguments.

    Note: the gradient, with respect to centers and radii, flows through the winning sphere of each
    pixel only. Surfaces closer to each other than the z-buffer resolves (0.0002 mm in a cube of
    300 mm) are a tie, which one of them wins. Background pixels have no gradient. Slopes are
    bounded by `r / MIN_HALF_CHORD_MM`, so that gradients are finite on silhouettes. Surfaces
    further than twice `cube_mm` in front of the cube are drawn but not sorted. A sphere with a NaN
    is not drawn. There is no second derivative.

    Args:
        centers_mm: float32 `[B, N, 3]`, mm, crop frame. N must be static.
        radii_mm: float32 `[N]` or `[B, N]`, mm.
        image_size: int, S, pixels a side.
        cube_mm: float, side of the crop's cube, mm.
        stride: int, draws only the T rows and T columns `stride // 2 + k stride`, for speed.

    Returns:
        float32 `[B, T, T]`, `[B, S, S]` without a stride, mm relative to the center of the crop.
        Pixels without a sphere, and surfaces at or behind the far face of the cube, hold
        `cube_mm / 2` exactly.

    Raises:
        ValueError: If the shapes do not fit, or a size is not positive.
    """
    spec = crop.CropSpec(image_size=image_size, cube_mm=cube_mm)
    if not 1 <= stride <= image_size:
        raise ValueError(f"Expected a stride between 1 and {image_size}, received {stride}.")
    centers_mm, radii_mm = packed_index.broadcast_spheres(centers_mm, radii_mm)
    grid = (spec.image_size, spec.cube_mm, stride)

    @tf.custom_gradient
    def render(centers, radii):
        depth, winner = winning_sphere(centers, radii, *grid)

        def backward(upstream):
            return _winner_gradient(centers, radii, winner, upstream, grid)

        return depth, backward

    return render(centers_mm, radii_mm)


@tf.function(jit_compile=True, autograph=False)
def winning_sphere(centers, radii, image_size, cube_mm, stride):
    """Depth of spheres and the index of the one in front; no gradient, see `render_depth`.

    Args:
        centers: float32 `[B, N, 3]`, mm, crop frame.
        radii: float32 `[B, N]`, mm.
        image_size: As for `render_depth`.
        cube_mm: As for `render_depth`.
        stride: As for `render_depth`.

    Returns:
        (depth float32 `[B, T, T]`, index of the winning sphere int32 `[B, T, T]`, -1 for
        background).
    """
    spec = crop.CropSpec(image_size, cube_mm)
    bits = packed_index.index_bits(centers.shape[1])
    # Shifted depths fill the octave [nearest, 2 nearest): the far face is just below its end.
    nearest = packed_index.octave_above(3.0 * cube_mm)
    far_shifted = tf.constant(2.0 * nearest * (1.0 - 1e-5), tf.float32)
    offset = far_shifted - spec.far_mm
    background = packed_index.pack(far_shifted, 0, bits)

    # q separates into a term of the row and a term of the column. Spheres lead: the loop slices.
    u = _ray_positions(spec, stride)
    x, y, z = tf.unstack(tf.transpose(centers, [2, 1, 0])[..., tf.newaxis])
    q_rows = tf.square(tf.transpose(radii))[..., tf.newaxis] - tf.square(y - u)
    q_columns = -tf.square(x - u)
    z_shifted = z[..., tf.newaxis] + offset

    def draw(j, buffer):
        q = q_rows[j][:, :, tf.newaxis] + q_columns[j][:, tf.newaxis, :]
        depth = z_shifted[j] - tf.sqrt(tf.maximum(q, 0.0))
        key = packed_index.pack(tf.maximum(depth, nearest), j, bits)
        visible = (q >= 0.0) & (depth < far_shifted)
        return j + 1, tf.minimum(buffer, tf.where(visible, key, background))

    empty = tf.fill([tf.shape(centers)[0], u.shape[0], u.shape[0]], background)
    buffer = tf.while_loop(lambda j, _: j < centers.shape[1], draw, [0, empty])[1]

    winner = packed_index.unpack(buffer, bits)
    q, _, _, z, _ = _at_winner(centers, radii, winner, u)
    depth = z - tf.sqrt(tf.maximum(q, 0.0))
    hit = (buffer < background) & (depth < spec.far_mm)
    return tf.where(hit, depth, spec.far_mm), tf.where(hit, winner, -1)


@tf.function(jit_compile=True, autograph=False)
def _winner_gradient(centers, radii, winner, upstream, grid):
    """Gradients `[B, N, 3]` and `[B, N]`: each pixel's share goes to its winning sphere.

    d depth / d (x, y, z, r) = ((x - u) / s, (y - v) / s, 1, -r / s) with s = sqrt(q).
    """
    image_size, cube_mm, stride = grid
    u = _ray_positions(crop.CropSpec(image_size, cube_mm), stride)
    q, dx, dy, _, r = _at_winner(centers, radii, tf.maximum(winner, 0), u)
    weight = tf.where(winner >= 0, upstream, 0.0)
    slope = weight * tf.math.rsqrt(tf.maximum(q, MIN_HALF_CHORD_MM**2))
    shares = tf.stack([slope * dx, slope * dy, weight, -slope * r], axis=-1)
    # Pixels without upstream gradient (clamped, background) need not be added up.
    index = tf.where(tf.equal(weight, 0.0), -1, winner)
    total = packed_index.sum_by_index(shares, index, tf.shape(centers)[0], centers.shape[1])
    return total[..., :3], total[..., 3]


def _ray_positions(spec, stride):
    """Positions of the rays of the drawn rows and columns, `[T]`, mm."""
    return crop.pixel_centers_mm(spec)[stride // 2 :: stride]


def _at_winner(centers, radii, winner, u):
    """q, x - u, y - v, z and r of each pixel's winning sphere, each `[B, T, T]`."""
    spheres = tf.concat([centers, radii[..., tf.newaxis]], axis=-1)
    x, y, z, r = tf.unstack(tf.gather(spheres, winner, batch_dims=1), axis=-1)
    dx, dy = x - u, y - u[:, tf.newaxis]
    return tf.square(r) - tf.square(dx) - tf.square(dy), dx, dy, z, r
