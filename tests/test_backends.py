"""On every backend of Keras: what moves reaches each step, and what cannot work says so at once."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND
from tests.callbacks.seen_rates import build, seen, train


def linear_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def test_what_changes_between_and_within_fits_is_in_no_compiled_step():
    def reduce():
        return kc.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.0)

    model = build(keras.optimizers.SGD(kc.schedules.Triangular(0.1, 0.4, 3, 4)), 28)
    train(model, [1.0, 1.0], [reduce()], 4)
    train(model, [1.0], [], 4)
    train(model, [1.0, 1.0, 0.5], [reduce()], 4)
    train(model, [1.0], [], 4)
    place = np.arange(28) % 7
    height = np.where(place < 3, place / 3, (7 - place) / 4)
    scales = np.repeat([1.0, 0.5, 0.25], [8, 12, 8])
    np.testing.assert_allclose(seen(model), (0.1 + 0.3 * height) * scales, rtol=3e-6)


def test_a_range_test_refuses_the_other_backends_before_it_changes_anything(monkeypatch):
    if BACKEND == "tensorflow":
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    model = linear_model()
    before = model.get_weights()
    x, y = np.ones((8, 4)), np.ones((8, 1))
    for run in (
        lambda: kc.lr_range_test(model, x, y),
        lambda: kc.fit_one_cycle(model, x, y, epochs=2, verbose=0),
        lambda: model.fit(x, y, verbose=0, callbacks=[kc.callbacks.LRRangeTest()]),
    ):
        with pytest.raises(RuntimeError, match=r"needs the TensorFlow backend.*Received: backend"):
            run()
    assert int(model.optimizer.iterations) == 0
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
