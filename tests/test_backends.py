"""On every backend of Keras: what moves reaches each step, and what cannot work says so at once."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND
from tests.callbacks.seen_rates import build, seen, train


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


def test_a_range_test_finds_the_same_on_every_backend():
    """The literal values are TensorFlow's."""
    random = np.random.default_rng(3)
    x = random.normal(size=(24, 4))
    layers = [keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(), "mse")
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    data = {"batch_size": 8, "shuffle": False, "verbose": 0}
    result = kc.lr_range_test(model, x, x @ [[1], [2], [-1], [1]], steps=25, min_lr=1e-3, **data)
    assert len(result.losses) == 25
    np.testing.assert_allclose(
        result.losses[[0, 8, 16]], [11.0659008, 7.9733753, 3.9375584], rtol=1e-5
    )
    np.testing.assert_allclose(result.bounds(), [0.1467799, 0.4641589], rtol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere the rate is no argument of the step")
def test_on_jax_a_range_test_refuses_a_train_function_that_is_not_keras_own():
    class OwnTrainFunction(keras.Sequential):
        def make_train_function(self, force=False):
            super().make_train_function(force)

    model = OwnTrainFunction([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="needs Keras's own `make_train_function`"):
        kc.lr_range_test(model, np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
