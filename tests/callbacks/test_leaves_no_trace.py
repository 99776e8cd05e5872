"""What is left of a scheduled hyperparameter: in a model during `fit`, and anywhere after it."""

import copy
import json
import pickle
import subprocess
import sys
import textwrap
import threading

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import steps_at_once, tensorflow_only

# On PyTorch, Keras makes another class of it.
SGD = type(keras.optimizers.SGD())

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 4)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5], [3.0]] + 0.5).astype("float32")
RATE = kc.schedules.Triangular(0.01, 0.1, 3)


def compiled(optimizer=None, **kwargs):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    optimizer = optimizer or keras.optimizers.SGD(RATE, momentum=0.9)
    model.compile(optimizer, "mse", **steps_at_once(kwargs.pop("steps_per_execution", 1)), **kwargs)
    return model


def fit(model, *callbacks, **kwargs):
    return model.fit(
        X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=list(callbacks), **kwargs
    )


def momentum(values):
    """A schedule of the momentum that holds one value."""
    return kc.callbacks.HyperparameterSchedule("momentum", kc.schedules.Constant(values))


def sgd_weights(momenta):
    """The weights that SGD gives when each step's momentum is assigned and nothing compiled."""
    model = compiled(run_eagerly=True)
    optimizer = model.optimizer
    for step, value in enumerate(momenta):
        optimizer.momentum = value
        rows = slice(step % 8 * 8, step % 8 * 8 + 8)
        model.train_on_batch(X[rows], Y[rows])
    return flat(model)


def flat(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


class During(keras.callbacks.Callback):
    """Calls a function with the model after the first epoch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.function(self.model)


class Stop(Exception):
    pass


def stop(model):
    raise Stop


def interrupt(model):
    raise KeyboardInterrupt


class RaiseAt(keras.callbacks.Callback):
    def __init__(self, method, error):
        super().__init__()
        self.error = error
        setattr(self, method, self.throw)

    def throw(self, *args, **kwargs):
        raise self.error


def assert_untouched(model, value=0.9):
    optimizer = model.optimizer
    assert type(optimizer.momentum) is float
    assert optimizer.momentum == value
    assert type(optimizer) is SGD
    assert set(vars(optimizer)) == set(vars(compiled().optimizer)) | {"momentums"}
    assert "make_train_function" not in vars(model)
    assert model.train_function is None


def test_after_fit():
    model = compiled()
    fit(model, kc.callbacks.CyclicalMomentum())
    assert_untouched(model)


INTERRUPTIONS = {
    "exception after an epoch": (RaiseAt("on_epoch_end", Stop()), Stop),
    "exception in a batch": (RaiseAt("on_train_batch_end", Stop()), Stop),
    "exception at the start": (RaiseAt("on_train_begin", Stop()), Stop),
    "exception at the end": (RaiseAt("on_train_end", Stop()), Stop),
    "interrupt": (RaiseAt("on_train_batch_end", KeyboardInterrupt()), KeyboardInterrupt),
    "second schedule refused": (momentum(0.5), ValueError),
}


@pytest.mark.parametrize(
    ("interruption", "wrapped"), [*((name, False) for name in INTERRUPTIONS), ("interrupt", True)]
)
def test_after_an_interrupted_fit(interruption, wrapped):
    callback, error = INTERRUPTIONS[interruption]
    order = [callback, momentum(0.2)] if "end" in interruption else [momentum(0.2), callback]
    sgd = keras.optimizers.SGD(RATE, momentum=0.9)
    model = compiled(keras.optimizers.LossScaleOptimizer(sgd) if wrapped else sgd)
    with pytest.raises(error) as raised:
        fit(model, *order)
    assert type(sgd.momentum) is float
    assert sgd.momentum == 0.9
    if not wrapped:
        assert_untouched(model)
    # The traceback still holds the frames of the interrupted `fit`.
    assert raised.value.__traceback__ is not None


@pytest.mark.parametrize("look", [True, False], ids=["looked_at", "not_looked_at"])
@pytest.mark.parametrize("again", ["plain", "other schedule", "train_on_batch", "assigned"])
def test_trains_right_after_an_interrupt(again, look):
    model = compiled()
    with pytest.raises(KeyboardInterrupt):
        fit(model, momentum(0.2), During(interrupt))
    if look:
        assert model.optimizer.momentum == 0.9
    momenta = [0.2] * 8
    if again == "train_on_batch":
        model.train_on_batch(X[:8], Y[:8])
        momenta += [0.9]
    elif again == "other schedule":
        fit(model, momentum(0.6))
        momenta += [0.6] * 8
    elif again == "assigned":
        model.optimizer.momentum = 0.4
        fit(model)
        momenta += [0.4] * 8
    else:
        fit(model)
        momenta += [0.9] * 8
    np.testing.assert_allclose(flat(model), sgd_weights(momenta), rtol=1e-5)


def test_each_fit_trains_with_its_own_values():
    model = compiled(steps_per_execution=4)
    fit(model)
    fit(model, momentum(0.2))
    fit(model, momentum(0.6))
    fit(model)
    expected = sgd_weights([0.9] * 8 + [0.2] * 8 + [0.6] * 8 + [0.9] * 8)
    np.testing.assert_allclose(flat(model), expected, rtol=1e-5)


def test_same_callback_twice_and_a_value_set_in_between():
    callback = momentum(0.2)
    model = compiled()
    fit(model, callback)
    model.optimizer.momentum = 0.5
    fit(model, callback)
    assert model.optimizer.momentum == 0.5
    fit(model)
    expected = sgd_weights([0.2] * 16 + [0.5] * 8)
    np.testing.assert_allclose(flat(model), expected, rtol=1e-5)


def test_fit_with_another_optimizer_after_an_interrupt():
    model = compiled()
    old = model.optimizer
    with pytest.raises(Stop):
        fit(model, momentum(0.2), During(stop))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.3), "mse")
    fit(model)
    assert type(old) is SGD
    assert "make_train_function" not in vars(model)


traces = []


@keras.saving.register_keras_serializable(package="test_leaves_no_trace")
def counted(y, prediction):
    traces.append(1)
    return keras.ops.mean(keras.ops.square(y - prediction), axis=-1)


@tensorflow_only("on JAX, Keras traces twice at a plain rate, too; PyTorch never does")
@pytest.mark.parametrize("kwargs", [{}, {"steps_per_execution": 4}])
def test_traced_once_per_fit(kwargs):
    model = compiled()
    model.compile(model.optimizer, counted, **kwargs)
    for callback in (kc.callbacks.CyclicalMomentum(), momentum(0.2)):
        traces.clear()
        fit(model, callback, epochs=3)
        assert len(traces) == 1


def test_nothing_is_called_for_a_batch():
    callback = kc.callbacks.CyclicalMomentum()
    for method in ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"):
        assert keras.src.utils.is_default(getattr(callback, method))


def test_during_fit_configs_hold_the_plain_float():
    model = compiled()
    fit(model)
    plain_config = model.optimizer.get_config()
    plain_serialized = keras.saving.serialize_keras_object(model.optimizer)
    variables = [v.path for v in model.optimizer.variables]
    seen = []

    def look(model):
        optimizer = model.optimizer
        assert optimizer.momentum == pytest.approx(0.2)
        config = optimizer.get_config()
        assert type(config["momentum"]) is float
        assert config == plain_config
        assert json.dumps(keras.saving.serialize_keras_object(optimizer)) == json.dumps(
            plain_serialized
        )
        assert optimizer.__class__ is SGD
        assert isinstance(optimizer, keras.optimizers.SGD)
        assert [v.path for v in optimizer.variables] == variables
        assert keras.optimizers.SGD.from_config(config).momentum == 0.9
        seen.append(True)

    fit(model, momentum(0.2), During(look), epochs=2)
    assert seen == [True]


def test_saved_during_fit_is_like_saved_without_us(tmp_path):
    for name, callbacks in (("ours", [momentum(0.9)]), ("plain", [])):
        checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / f"{name}.keras")
        weights = keras.callbacks.ModelCheckpoint(
            tmp_path / f"{name}.weights.h5", save_weights_only=True
        )
        fit(compiled(), *callbacks, checkpoint, weights)
    ours, plain = (keras.models.load_model(tmp_path / f"{n}.keras") for n in ("ours", "plain"))
    assert ours.optimizer.get_config() == plain.optimizer.get_config() | {
        "name": ours.optimizer.name
    }
    assert len(ours.optimizer.variables) == len(plain.optimizer.variables)
    for a, b in zip(ours.optimizer.variables, plain.optimizer.variables):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    # A checkpoint of a training without us goes on with us, and the other way around.
    ours.load_weights(tmp_path / "plain.weights.h5")
    fit(ours, momentum(0.2))
    plain.load_weights(tmp_path / "ours.weights.h5")
    fit(plain)
    np.testing.assert_allclose(flat(ours), sgd_weights([0.9] * 8 + [0.2] * 8), rtol=1e-5)
    np.testing.assert_allclose(flat(plain), sgd_weights([0.9] * 16), rtol=1e-5)


def test_copies_made_during_fit_are_plain():
    copies = []

    def take(model):
        copies.append(copy.deepcopy(model))
        copies.append(pickle.loads(pickle.dumps(model)))
        copies.append(keras.models.clone_model(model))
        copies[-1].compile(
            keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer)), "mse"
        )

    fit(compiled(), momentum(0.2), During(take))
    for model in copies:
        assert type(model.optimizer) is SGD
        assert vars(model.optimizer)["momentum"] == 0.9
        fit(model)


def test_values_read_during_fit_are_floats_that_keep():
    model = compiled(steps_per_execution=2)
    schedule = kc.schedules.LinearDecay(0.8, decay_steps=16)
    read = []

    class Log(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            read.append(self.model.optimizer.momentum)

        def on_epoch_end(self, epoch, logs=None):
            logs["momentum"] = self.model.optimizer.momentum
            assert f"{self.model.optimizer.momentum:.3f}" in ("0.400", "0.000")

    scheduled = kc.callbacks.HyperparameterSchedule("momentum", schedule)
    history = fit(model, scheduled, Log(), epochs=2).history["momentum"]
    assert all(type(value) is float for value in read + history)
    np.testing.assert_allclose(read, 0.8 * (1 - np.arange(2, 17, 2) / 16), atol=1e-7)
    np.testing.assert_allclose(history, [0.4, 0.0], atol=1e-7)


def test_read_from_another_thread_during_fit():
    model = compiled()
    values = []

    def read_in_thread(model):
        thread = threading.Thread(target=lambda: values.append(model.optimizer.momentum))
        thread.start()
        thread.join()

    fit(model, momentum(0.2), During(read_in_thread))
    assert values == [pytest.approx(0.2)]
    assert model.optimizer.momentum == 0.9


def test_cannot_be_assigned_while_it_is_scheduled():
    def assign(model):
        model.optimizer.momentum = 0.5

    model = compiled()
    with pytest.raises(TypeError, match=r"driven by a schedule.*momentum=0\.5"):
        fit(model, momentum(0.2), During(assign))
    assert_untouched(model)


def test_train_on_batch_and_evaluate_during_fit_leave_the_schedule():
    def use(model):
        model.train_on_batch(X[:8], Y[:8])
        model.evaluate(X, Y, verbose=0)

    model = compiled()
    fit(model, momentum(0.2), During(use), epochs=2)
    reference = compiled()
    reference.optimizer.momentum = 0.2
    fit(reference, During(use), epochs=2)
    np.testing.assert_allclose(flat(model), flat(reference), rtol=1e-5)
    assert_untouched(model)


RESUMED = """
    import sys
    import keras, numpy as np
    import keras_cyclic as kc

    rate = kc.schedules.Triangular2(0.01, 0.1, 3)
    optimizers = {
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9),
        "nadam": lambda: keras.optimizers.Nadam(rate),
    }
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)

    def new(kind):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(optimizers[kind](), "mse")
        return model

    def train(kind, model, first, last):
        path = sys.argv[2] + kind + ".keras"
        callbacks = [kc.callbacks.CyclicalMomentum(), keras.callbacks.ModelCheckpoint(path)]
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, initial_epoch=first, epochs=last,
                  callbacks=callbacks)
        print("weights", "".join(w.tobytes().hex() for w in model.get_weights()))

    for kind in optimizers:
        if sys.argv[1] == "begin":
            train(kind, new(kind), 0, 2)
            train(kind, new(kind), 0, 1)
        else:
            train(kind, keras.models.load_model(sys.argv[2] + kind + ".keras"), 1, 2)
"""


@pytest.mark.slow
def test_resumes_in_another_process_bit_for_bit(tmp_path):
    """Epochs of 5 steps in cycles of 6: the stop is in mid-cycle."""

    def run(part):
        command = [sys.executable, "-c", textwrap.dedent(RESUMED), part, f"{tmp_path}/"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return [line for line in done.stdout.splitlines() if line.startswith("weights")]

    sgd, half_of_sgd, nadam, half_of_nadam = run("begin")
    assert len({sgd, half_of_sgd, nadam, half_of_nadam}) == 4
    assert run("continue") == [sgd, nadam]
