"""Networks that answer as a pose network does, and take no time to trace."""

import keras
from keras import layers

__all__ = ["build"]


def build(image_size, more=()):
    """Builds a linear map from crops to spheres.

    Args:
        image_size: Side S of the crops, px.
        more: Layers before the map, of rows of 64 numbers.

    Returns:
        Keras model from [B, S, S, 1] to a dict of `spheres_mm` [B, 41, 3] and
        `stack_spheres_mm` [B, 1, 41, 3].
    """
    inputs = keras.Input((image_size, image_size, 1))
    rows = layers.Flatten()(layers.AveragePooling2D(image_size // 8)(inputs))
    for layer in more:
        rows = layer(rows)
    spheres_mm = layers.Rescaling(50.0)(layers.Dense(41 * 3)(rows))
    shapes = {"spheres_mm": (41, 3), "stack_spheres_mm": (1, 41, 3)}
    outputs = {name: layers.Reshape(shape)(spheres_mm) for name, shape in shapes.items()}
    return keras.Model(inputs, outputs)
