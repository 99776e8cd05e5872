"""A range test in float64 NumPy: one linear layer, squared loss, plain gradient descent."""

import numpy as np


def linear_losses(batches, kernel, learning_rates):
    """The loss of each batch with the weights before its update, round the batches.

    Args:
        batches: A list of `(x, y)` or `(x, y, sample_weight)`.
        kernel: The first weights.
        learning_rates: One for each step.
    """
    kernel = np.array(kernel, "float64")
    losses = []
    for step, rate in enumerate(learning_rates):
        x, y, *weight = (np.array(part, "float64") for part in batches[step % len(batches)])
        weight = weight[0] if weight else np.ones(len(x))
        error = x @ kernel - y
        losses.append(np.mean(weight * error[:, 0] ** 2))
        kernel -= rate * 2 / len(x) * x.T @ (weight[:, None] * error)
    return np.array(losses)


def stopping_step(losses, smoothing, stop_factor):
    """The number of losses up to the one at which the running average has exploded."""
    average, lowest = 0.0, np.inf
    for step, loss in enumerate(losses):
        average = smoothing * average + (1 - smoothing) * loss
        corrected = average / (1 - smoothing ** (step + 1))
        if not np.isfinite(loss) or corrected > stop_factor * lowest:
            return step + 1
        lowest = min(lowest, corrected)
    return len(losses)


def least_squares(seed, condition, size, noise=0.0):
    """`x`, `y` and the largest stable learning rate of a least-squares problem.

    The Hessian of the mean squared error, 2 x'x / n, has eigenvalues from its largest down to
    that over `condition`.
    """
    rng = np.random.default_rng(seed)
    samples = 3 * size
    left = np.linalg.qr(rng.normal(size=(samples, size)))[0]
    right = np.linalg.qr(rng.normal(size=(size, size)))[0]
    largest = 10 ** rng.uniform(0, 2.5)
    eigenvalues = largest * np.geomspace(1, 1 / condition, size)
    x = left * np.sqrt(eigenvalues * samples / 2) @ right.T
    y = x @ rng.normal(size=(size, 1))
    y += noise * np.std(y) * rng.normal(size=y.shape)
    return x, y, 2 / largest
