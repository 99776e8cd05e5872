"""The range test on PyTorch, with layers that are PyTorch's own."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND

if BACKEND != "torch":
    pytest.skip("needs the PyTorch backend", allow_module_level=True)

import torch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Average(torch.nn.Module):
    """Remembers a running average in a new tensor each time, and each call's mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(4))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(dim=0)
        return x


class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.average = Average()
        self.normalization = torch.nn.BatchNorm1d(4)
        self.dense = keras.layers.Dense(1)
        self.modes = []

    def call(self, x):
        self.modes.append(self.training)
        return self.dense(self.normalization(self.average(x)))


def network():
    keras.utils.set_random_seed(1)
    model = Network()
    model(X)
    model.compile("sgd", "mse")
    return model


def own_state(model):
    average, normalization = model.average.module, model.normalization.module
    modules = model, model.average, average, normalization, model.dense
    values = [average.average, normalization.running_mean, normalization.running_var]
    return [keras.ops.convert_to_numpy(value).copy() for value in values] + [
        int(normalization.num_batches_tracked),
        [module.training for module in modules],
        [parameter.grad is None for parameter in model.parameters()],
    ]


@pytest.mark.parametrize("trained", [False, True])
def test_buffers_modes_and_gradients_go_back(trained):
    model = network()
    if trained:
        model.fit(X, Y, batch_size=8, verbose=0)
    before = own_state(model)
    gradients = [np.array(p.grad) for p in model.parameters() if p.grad is not None]
    assert bool(gradients) == trained
    kc.lr_range_test(model, X, Y, steps=12, batch_size=8, verbose=0)
    for one, other in zip(before, own_state(model)):
        np.testing.assert_array_equal(one, other)
    after = [np.array(p.grad) for p in model.parameters() if p.grad is not None]
    for one, other in zip(gradients, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_sequential_model_hides_its_layers_from_torch():
    layer = torch.nn.BatchNorm1d(4)
    wrapped = keras.layers.TorchModuleWrapper(layer, output_shape=(None, 4))
    model = keras.Sequential([keras.Input((4,)), wrapped, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    kc.lr_range_test(model, X, Y, steps=12, batch_size=8, verbose=0)
    assert layer.num_batches_tracked == 0
    np.testing.assert_array_equal(layer.running_mean, np.zeros(4))


@pytest.mark.parametrize("validation_data", [None, (X[:8], Y[:8])])
def test_every_step_trains_also_beyond_the_last_epoch(validation_data):
    model = network()
    # Before the first step of all, Keras calls the model to know its shapes.
    model.fit(X, Y, batch_size=8, verbose=0)
    model.modes.clear()
    validation = {} if validation_data is None else {"validation_data": validation_data}
    test = kc.callbacks.LRRangeTest(steps=12, max_lr=0.1, restore=False, **validation)
    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[test])
    assert model.modes.count(True) == 12
    assert len(model.modes) == (12 if validation_data is None else 24)
    # As Keras leaves it.
    assert not model.training
