"""Distance from points to the surface of a union of spheres (section 3.4.1, equations 10-11).

The search over spheres is a loop that keeps one integer a point, as in the renderer: no
`[batch, point, sphere]` tensor ever exists, forward and backward pass are one XLA program each, and
only the index of the nearest sphere is kept between them.
"""

import tensorflow as tf

from tfhand.rendering import packed_index

__all__ = ["SEARCH_RANGE_MM", "nearest_sphere", "nearest_surface_distance"]

# Surfaces further away than this are not sorted among each other. The search resolves
# SEARCH_RANGE_MM * 2^-23 = 0.0001 mm.
SEARCH_RANGE_MM = 1024.0

# Spheres visited in one pass over the points, which halves the time: the pass is bound by memory.
_SPHERES_PER_PASS = 4

# Keeps the direction from a sphere's center to a point at that center finite (zero, in fact).
_MIN_CENTER_DISTANCE_MM = 1e-3


def nearest_surface_distance(points_mm, centers_mm, radii_mm):
    """Distance from every point to the nearest sphere surface, equations 10 and 11.

    `d(p) = min_j abs(||p - c_j|| - r_j)`, from inside as from outside. The same frame must be used
    for points and centers. Programs are compiled once for every shape of the arguments.

    Note: the gradient, with respect to all three arguments, flows through the nearest sphere only.
    Where two surfaces are equally near, up to 0.0001 mm, one of them gets it. On the surface itself
    and at the center of the sphere the gradient is finite (0 where `d` is exactly 0). There is no
    second derivative.

    Args:
        points_mm: float32 `[B, P, 3]`, mm.
        centers_mm: float32 `[B, N, 3]`, mm. N must be static.
        radii_mm: float32 `[N]` or `[B, N]`, mm.

    Returns:
        float32 `[B, P]`, mm, not negative. Spheres with a NaN count as infinitely far; points with
        a NaN give NaN.

    Raises:
        ValueError: If the shapes do not fit.
    """
    points_mm = tf.convert_to_tensor(points_mm, dtype=tf.float32)
    centers_mm, radii_mm = packed_index.broadcast_spheres(centers_mm, radii_mm)
    if points_mm.shape.rank != 3 or points_mm.shape[2] != 3:
        raise ValueError(f"Expected points of shape [batch, P, 3], received {points_mm.shape}.")

    @tf.custom_gradient
    def distance(points, centers, radii):
        distances, nearest = nearest_sphere(points, centers, radii)

        def backward(upstream):
            # Two programs: a graph drops the gradient of points that nobody asks for.
            d_points = _point_gradient(points, centers, radii, nearest, upstream)
            d_centers, d_radii = _sphere_gradient(points, centers, radii, nearest, upstream)
            return d_points, d_centers, d_radii

        return distances, backward

    return distance(points_mm, centers_mm, radii_mm)


@tf.function(jit_compile=True, autograph=False)
def nearest_sphere(points, centers, radii):
    """Distance to the nearest surface and the index of its sphere, see `nearest_surface_distance`.

    No gradient.

    Args:
        points: float32 `[B, P, 3]`, mm.
        centers: float32 `[B, N, 3]`, mm.
        radii: float32 `[B, N]`, mm.

    Returns:
        (distance float32 `[B, P]`, mm, index of the sphere int32 `[B, P]`).
    """
    count = centers.shape[1]
    bits = packed_index.index_bits(count)
    # Distances are shifted into the octave [range, 2 range). Spheres lead: the loop slices.
    last = 2.0 * SEARCH_RANGE_MM * (1.0 - 1e-5)
    px, py, pz = tf.unstack(tf.transpose(points, [2, 0, 1]))
    x, y, z = tf.unstack(tf.transpose(centers, [2, 1, 0])[..., tf.newaxis])
    r = tf.transpose(radii)[..., tf.newaxis]

    def visit(group, best):
        for step in range(_SPHERES_PER_PASS):
            j = tf.minimum(group * _SPHERES_PER_PASS + step, count - 1)
            squared = tf.square(px - x[j]) + tf.square(py - y[j]) + tf.square(pz - z[j])
            shifted = tf.abs(tf.sqrt(squared) - r[j]) + SEARCH_RANGE_MM
            # Not tf.minimum: a NaN must count as far.
            shifted = tf.where(shifted < last, shifted, last)
            best = tf.minimum(best, packed_index.pack(shifted, j, bits))
        return group + 1, best

    start = tf.fill(tf.shape(px), tf.int32.max)
    # Counted in steps of one: XLA skips `while i < n: i += 4` altogether for n < 4.
    passes = -(-count // _SPHERES_PER_PASS)
    best = tf.while_loop(lambda group, _: group < passes, visit, [0, start])[1]
    nearest = packed_index.unpack(best, bits)
    _, length, r = _to_nearest(points, centers, radii, nearest)
    return tf.abs(length - r), nearest


@tf.function(jit_compile=True, autograph=False)
def _point_gradient(points, centers, radii, nearest, upstream):
    """d distance / d p = sign(||p - c|| - r) (p - c) / ||p - c||, `[B, P, 3]`."""
    offset, length, r = _to_nearest(points, centers, radii, nearest)
    return (upstream * tf.sign(length - r) / length)[..., tf.newaxis] * offset


@tf.function(jit_compile=True, autograph=False)
def _sphere_gradient(points, centers, radii, nearest, upstream):
    """Gradients `[B, N, 3]` and `[B, N]`: each point's share goes to its nearest sphere."""
    offset, length, r = _to_nearest(points, centers, radii, nearest)
    side = upstream * tf.sign(length - r)
    pull = (-side / length)[..., tf.newaxis] * offset
    shares = tf.concat([pull, -side[..., tf.newaxis]], axis=-1)
    # Points without upstream gradient (background, clamped) need not be added up.
    index = tf.where(tf.equal(upstream, 0.0), -1, nearest)
    total = packed_index.sum_by_index(shares, index, tf.shape(centers)[0], centers.shape[1])
    return total[..., :3], total[..., 3]


def _to_nearest(points, centers, radii, nearest):
    """p - c `[B, P, 3]`, its length and the radius `[B, P]` for each point's nearest sphere."""
    offset = points - tf.gather(centers, nearest, batch_dims=1)
    squared = tf.reduce_sum(tf.square(offset), axis=-1)
    length = tf.sqrt(tf.maximum(squared, _MIN_CENTER_DISTANCE_MM**2))
    return offset, length, tf.gather(radii, nearest, batch_dims=1)
