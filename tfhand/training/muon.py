"""Muon, the optimizer of the synthetic stage: momentum with orthogonal updates. Not in the paper.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the size of
steps of Liu et al., "Muon is scalable for LLM training" (arXiv:2502.16982, 2025). Keras' own takes
kernels of dense layers only.
"""

import keras
from keras import ops

__all__ = ["Muon", "orthogonalize"]

# Newton-Schulz iteration x <- a x + b (x x^T) x + c (x x^T)^2 x of Jordan et al.: five steps take
# singular values between 0.002 and 1 to between 0.7 and 1.2.
_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_TINY = 1e-7
# Root mean square of an update per learning rate, about that of Adam.
_UPDATE_RMS = 0.2
# Adam's.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


def orthogonalize(matrix):
    """Replaces the singular values of a matrix by numbers near 1.

    Args:
        matrix: float32 [n, m], not zero.

    Returns:
        float32 [n, m]; its singular values are between 0.7 and 1.2 where those of `matrix` are
        above 0.002 of its Frobenius norm.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if is_tall else matrix
    x = x / (ops.norm(x) + _TINY)
    for _ in range(_ITERATIONS):
        square = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.transpose(x) if is_tall else x


class Muon(keras.optimizers.Optimizer):
    """Orthogonalized momentum for kernels of hidden convolutions, Adam for everything else.

    A kernel [h, w, C, D] counts as a matrix [h w C, D]. First and last layers, whose inputs or
    outputs are few numbers with a meaning each, and biases are Adam's.

    Args:
        learning_rate: A number or a schedule, for both.
        momentum: Share of the momentum that every step keeps.
        least_channels: Kernels with fewer input or output channels are Adam's.
        exclude: Kernels whose path has one of these words are Adam's.
        **kwargs: Of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate,
        *,
        momentum=0.95,
        least_channels=32,
        exclude=("heatmaps", "latent_depth"),
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum, self.least_channels, self.exclude = momentum, least_channels, tuple(exclude)

    def build(self, variables):
        """Makes the state: a momentum for each variable, and a second moment for those of Adam."""
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = [], []
        for variable in variables:
            add = self.add_variable_from_reference
            self._momentums.append(add(reference_variable=variable, name="momentum"))
            orthogonal = self.is_orthogonalized(variable)
            self._velocities.append(
                None if orthogonal else add(reference_variable=variable, name="velocity")
            )

    def is_orthogonalized(self, variable):
        """Returns whether the updates of a variable are orthogonal; else they are Adam's."""
        return (
            len(variable.shape) == 4
            and min(variable.shape[2:]) >= self.least_channels
            and not any(word in variable.path for word in self.exclude)
        )

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable."""
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if velocity is None:
            self.assign(momentum, self.momentum * momentum + gradient)
            # Nesterov's form.
            direction = self._orthogonal_update(gradient + self.momentum * momentum)
        else:
            direction = self._adam_update(gradient, momentum, velocity)
        self.assign_sub(variable, learning_rate * direction)

    def _orthogonal_update(self, momentum):
        matrix = ops.reshape(momentum, (-1, momentum.shape[-1]))
        # An orthogonal [n, m] has a root mean square of max(n, m)^-0.5.
        size = _UPDATE_RMS * max(matrix.shape) ** 0.5
        return ops.reshape(size * orthogonalize(matrix), momentum.shape)

    def _adam_update(self, gradient, momentum, velocity):
        step = ops.cast(self.iterations + 1, gradient.dtype)
        self.assign(momentum, _BETA_1 * momentum + (1.0 - _BETA_1) * gradient)
        self.assign(velocity, _BETA_2 * velocity + (1.0 - _BETA_2) * ops.square(gradient))
        mean = momentum / (1.0 - ops.power(_BETA_1, step))
        square = velocity / (1.0 - ops.power(_BETA_2, step))
        return mean / (ops.sqrt(square) + _EPSILON)

    def get_config(self):
        """Returns the arguments of the constructor."""
        names = ("momentum", "least_channels", "exclude")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
