"""CyclicalMomentum on several devices and on the other backends of Keras, each in a process."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

COMMON = """
    import contextlib
    import keras
    import numpy as np
    import keras_cyclic as kc

    rate = kc.schedules.Triangular(0.01, 0.1, 3)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    optimizers = {
        "momentum": lambda **kwargs: keras.optimizers.SGD(rate, momentum=0.9, **kwargs),
        "beta_1": lambda **kwargs: keras.optimizers.Nadam(rate, **kwargs),
    }

    def compiled(make, scope=contextlib.nullcontext(), **kwargs):
        with scope:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile(make(), "mse", **kwargs)
        model.set_weights([np.array([[0.1], [0.2], [0.3], [0.4]]), np.zeros(1)])
        return model

    def fit(model, *callbacks):
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    def momentum(t):
        return 0.95 - 0.1 * min(t % 6, 6 - t % 6) / 3

    def same(ones, others):
        for one, other in zip(ones, others, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
"""

MIRRORED = """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name, make in optimizers.items():
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        two = compiled(make, strategy.scope())
        same(
            fit(two, kc.callbacks.CyclicalMomentum()),
            fit(compiled(make), kc.callbacks.CyclicalMomentum()),
        )
        assert type(getattr(two.optimizer, name)) is float
    print("the same")
"""

BACKEND = """
    class Read(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(getattr(self.model.optimizer, name))

        def on_epoch_end(self, epoch, logs=None):
            assert self.model.optimizer.get_config()[name] == 0.9

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    at_once = 1 if keras.backend.backend() == "torch" else 4
    for name, make in optimizers.items():
        for kwargs in ({}, {"gradient_accumulation_steps": 2}):
            seen = []
            model = compiled(lambda: make(**kwargs), steps_per_execution=at_once)
            weights = fit(model, kc.callbacks.CyclicalMomentum(), Read())
            expected = [momentum(t) for t in range(at_once, 17, at_once)]
            np.testing.assert_allclose(seen, expected, atol=1e-6)
            assert getattr(model.optimizer, name) == 0.9

            reference = compiled(lambda: make(**kwargs), run_eagerly=True)
            for t in range(16):
                setattr(reference.optimizer, name, momentum(t))
                rows = slice(t % 8 * 8, t % 8 * 8 + 8)
                reference.train_on_batch(x[rows], y[rows])
            same(weights, reference.get_weights())
        try:
            fit(model, kc.callbacks.CyclicalMomentum(), Interrupt())
        except KeyboardInterrupt:
            pass
        assert getattr(model.optimizer, name) == 0.9
    print("the same")
"""


def run(script, backend):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(script)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip().endswith("the same"), done.stderr[-2000:]


@pytest.mark.slow
def test_mirrored_on_two_devices():
    run(MIRRORED, "tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run(BACKEND, backend)
