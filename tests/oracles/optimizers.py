"""Optimizers in float64 NumPy, for a linear model y = x w + b under the mean squared error.

Written from the update rules as Keras documents them, with a learning rate and a momentum (or
beta_1) that are functions of the step.
"""

import numpy as np


def gradient(weights, x, y):
    """The gradient for `weights`, of which the last one is the bias."""
    residual = x @ weights[:-1] + weights[-1] - y
    return 2.0 / len(y) * np.append(x.T @ residual, residual.sum())


def train(rule, weights, batches, rate, cycled, accumulate=1, **options):
    """The weights after one pass over `batches`.

    Args:
        rule: One of the generators below.
        weights: A vector.
        batches: Pairs of x and y.
        rate: The learning rate, a function of the batch, counted from 0.
        cycled: The momentum or beta_1, likewise.
        accumulate: How many batches' gradients are averaged for an update.
        **options: What the rule takes beside these.
    """
    weights = np.array(weights, "float64")
    update = rule(len(weights), **options)
    next(update)
    gathered = np.zeros_like(weights)
    for step, (x, y) in enumerate(batches):
        gathered += gradient(weights, x.astype("float64"), y.astype("float64"))
        if (step + 1) % accumulate == 0:
            weights = update.send((weights, gathered / accumulate, rate(step), cycled(step)))
            gathered = np.zeros_like(weights)
    return weights


def sgd(size, nesterov=False):
    velocity = np.zeros(size)
    weights = None
    while True:
        weights, g, rate, momentum = yield weights
        velocity = momentum * velocity - rate * g
        weights = weights + (momentum * velocity - rate * g if nesterov else velocity)


def rmsprop(size, rho=0.9, epsilon=1e-7):
    mean_square, velocity = np.zeros(size), np.zeros(size)
    weights = None
    while True:
        weights, g, rate, momentum = yield weights
        mean_square = rho * mean_square + (1 - rho) * g**2
        velocity = momentum * velocity + rate * g / np.sqrt(mean_square + epsilon)
        weights = weights - velocity


def adam(size, beta_2=0.999, epsilon=1e-7, weight_decay=0.0):
    m, v = np.zeros(size), np.zeros(size)
    weights, t = None, 0
    while True:
        weights, g, rate, beta_1 = yield weights
        t += 1
        weights = weights * (1 - weight_decay * rate)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        alpha = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        weights = weights - alpha * m / (np.sqrt(v) + epsilon)


def nadam(size, beta_2=0.999, epsilon=1e-7):
    m, v = np.zeros(size), np.zeros(size)
    weights, t, product = None, 0, 1.0
    while True:
        weights, g, rate, beta_1 = yield weights
        t += 1
        u = beta_1 * (1 - 0.5 * 0.96**t)
        u_next = beta_1 * (1 - 0.5 * 0.96 ** (t + 1))
        product *= u
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = u_next * m / (1 - product * u_next) + (1 - u) * g / (1 - product)
        weights = weights - rate * m_hat / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
