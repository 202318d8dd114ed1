"""Knowledge of hands that needs no depth map (section 3.4.2, equations 13-16).

Every term takes the spheres of all views, `[batch, view, sphere, 3]`, each in any frame of its own:
distances do not depend on it.
"""

import tensorflow as tf

from tfhand.geometry import views

__all__ = ["bone_length", "collision", "pose_prior", "sphere_distances"]

# Added under the root, mm^2: the gradient of a distance stays finite where spheres coincide. An
# epsilon added to the difference instead would be lost in graph mode.
_EPSILON_MM2 = 1e-6


def pose_prior(spheres_mm, negative_elbo_fn):
    """Improbability of the poses under a frozen variational auto-encoder, equation 13.

    Args:
        spheres_mm: float32 `[B, V, N, 3]`, mm.
        negative_elbo_fn: Callable, `[M, N, 3]` mm to the negative ELBO `[M]`, such as
            `tfhand.models.pose_prior.PosePrior.negative_elbo`. Its weights should not be trainable.

    Returns:
        float32 `[B]`, mean over views, in the unit of `negative_elbo_fn` (nats a coordinate).
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, dtype=tf.float32)
    values = negative_elbo_fn(views.fold_views(spheres_mm))
    return tf.reduce_mean(views.unfold_views(values, spheres_mm.shape[1]), axis=1)


def bone_length(spheres_mm, bones, min_mm, max_mm):
    """Bones shorter or longer than any subject's, equations 14 and 15.

    `max(d - max, 0)^2 + max(min - d, 0)^2` with `d` the distance of a bone's ends; a bone of 10 mm
    in a range of 12 to 20 mm gives 4 mm^2.

    Args:
        spheres_mm: float32 `[B, V, N, 3]`, mm.
        bones: int `[K, 2]`, pairs of spheres.
        min_mm: float32 `[K]`, mm.
        max_mm: float32 `[K]`, mm.

    Returns:
        float32 `[B]`, mm^2, mean over bones and views (the paper sums).
    """
    length = sphere_distances(spheres_mm, bones)
    too_long = tf.square(tf.nn.relu(length - max_mm))
    too_short = tf.square(tf.nn.relu(min_mm - length))
    return tf.reduce_mean(too_long + too_short, axis=[1, 2])


def collision(spheres_mm, pairs, min_distance_mm):
    """Spheres that lie in each other, after equation 16.

    `max(min_distance - ||c_j - c_k||, 0)`. Equation 16 as printed subtracts a squared distance,
    mm^2, from a sum of radii, mm; and that sum is no bound, since flesh gives way where fingers
    touch, and one network serves thick and thin ones. So the distance is not squared, the bound is
    a share of the sum (`hand.statistics.collision_distances`), and the pairs are those that can
    collide (spheres of different fingers, of a finger and the palm).

    Args:
        spheres_mm: float32 `[B, V, N, 3]`, mm.
        pairs: int `[K, 2]`, pairs of spheres.
        min_distance_mm: float32 `[K]`, mm.

    Returns:
        float32 `[B]`, mm, mean over pairs and views.
    """
    distance = sphere_distances(spheres_mm, pairs)
    return tf.reduce_mean(tf.nn.relu(min_distance_mm - distance), axis=[1, 2])


def sphere_distances(spheres_mm, pairs):
    """Distances of pairs of sphere centers, equation 15.

    Args:
        spheres_mm: float32 `[B, V, N, 3]`, mm.
        pairs: int `[K, 2]`, static, indices of spheres.

    Returns:
        float32 `[B, V, K]`, mm, at least 0.001 mm.

    Raises:
        ValueError: If the spheres have other axes.
    """
    spheres_mm = tf.convert_to_tensor(spheres_mm, dtype=tf.float32)
    pairs = tf.convert_to_tensor(pairs, dtype=tf.int32)
    if spheres_mm.shape.rank != 4 or spheres_mm.shape[3] != 3:
        raise ValueError(
            f"Expected spheres of shape [batch, view, sphere, 3], received {spheres_mm.shape}."
        )
    first = tf.gather(spheres_mm, pairs[:, 0], axis=2)
    second = tf.gather(spheres_mm, pairs[:, 1], axis=2)
    return tf.sqrt(tf.reduce_sum(tf.square(first - second), axis=-1) + _EPSILON_MM2)
