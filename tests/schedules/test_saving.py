"""Schedules saved with models, in every format, and training that goes on from the same point."""

import copy
import json
import pickle
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import tensorflow_only
from tests.schedules.policies import POLICIES

schedules = kc.schedules


@keras.saving.register_keras_serializable(package="test_saving")
def one_third_less_each_cycle(cycle):
    return (2 / 3) ** (cycle - 1)


@keras.saving.register_keras_serializable(package="test_saving")
def smoothstep(z):
    return z * z * (3 - 2 * z)


@keras.saving.register_keras_serializable(package="test_saving")
class PowerOfCycle:
    """A callable object with a configuration of its own."""

    def __init__(self, power):
        self.power = power

    def __call__(self, cycle):
        return cycle**-self.power

    def get_config(self):
        return {"power": self.power}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


NESTED = schedules.Warmup(
    schedules.Sequential(
        [
            schedules.Cyclical(0.001, 0.006, 5, 3, smoothstep, one_third_less_each_cycle),
            schedules.Cyclical(0.0, 0.01, 4, scale_fn=PowerOfCycle(0.5)) * 0.5,
            schedules.Sampled(
                keras.optimizers.schedules.CosineDecay(0.01, 50, warmup_target=0.02, warmup_steps=5)
                * schedules.StepDecay(1.0, 10),
                every=3,
            ),
        ],
        boundaries=[20, 40],
    ),
    warmup_steps=7,
    initial_lr=0.0001,
    profile=kc.profiles.Exponential(rate=3.0),
)
SCHEDULES = {policy.name: policy.schedule for policy in POLICIES} | {"nested": NESTED}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
STEPS = np.array([0, 1, 3, 6, 7, 8, 11, 19, 26, 27, 28, 46, 47, 48, 53, 90, 1000])


def assert_same(schedule, other):
    assert type(other) is type(schedule)
    assert other is not schedule
    assert other.get_config() == schedule.get_config()
    assert repr(other) == repr(schedule)
    np.testing.assert_array_equal(other(STEPS), schedule(STEPS))


def model_with(learning_rate, optimizer=keras.optimizers.Adam):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    # A loss by name cannot be loaded from .h5, whatever the optimizer's rate is.
    model.compile(optimizer(learning_rate), keras.losses.MeanSquaredError())
    model.optimizer.build(model.trainable_variables)
    return model


DATA = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")


def train(model, epochs):
    model.fit(DATA[:, :4], DATA[:, 4:], batch_size=4, epochs=epochs, shuffle=False, verbose=0)


@every_schedule
def test_config_through_json(schedule):
    text = json.dumps(keras.optimizers.schedules.serialize(schedule), allow_nan=False)
    assert_same(schedule, keras.optimizers.schedules.deserialize(json.loads(text)))
    assert_same(schedule, type(schedule).from_config(json.loads(json.dumps(schedule.get_config()))))


@every_schedule
def test_copies(schedule):
    assert_same(schedule, copy.deepcopy(schedule))
    assert_same(schedule, pickle.loads(pickle.dumps(schedule)))


@every_schedule
def test_repr_is_the_call_that_made_it(schedule):
    names = vars(kc.profiles) | vars(schedules) | globals()
    # The parts of Keras print their configuration, and a function its name.
    names |= {"CosineDecay": keras.optimizers.schedules.CosineDecay}
    # There is a profile and a schedule of the name REX.
    source = repr(schedule).replace("profile=REX(", "profile=profiles.REX(")
    assert_same(schedule, eval(source, names | {"profiles": kc.profiles}))


def assert_train_alike(model, other):
    train(model, 1)
    train(other, 1)
    for ours, theirs in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["OneCycle", "WarmRestarts doubling", "MultiStepDecay", "nested"])
def test_whole_models_in_keras_format(name, tmp_path):
    schedule = SCHEDULES[name]
    model = model_with(schedule)
    train(model, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(schedule, loaded.optimizer._learning_rate)
    assert int(loaded.optimizer.iterations) == 8
    assert float(loaded.optimizer.learning_rate) == float(schedule(8))
    assert_train_alike(model, loaded)


@pytest.mark.parametrize("name", ["OneCycle", "nested"])
def test_whole_models_in_h5_format(name, tmp_path):
    schedule = SCHEDULES[name]
    model = model_with(schedule, keras.optimizers.SGD)
    train(model, 1)
    model.save(tmp_path / "model.h5")
    loaded = keras.saving.load_model(tmp_path / "model.h5")
    optimizer = loaded.optimizer
    assert_same(schedule, optimizer._learning_rate)
    assert int(optimizer.iterations) == 8
    assert float(optimizer.learning_rate) == float(schedule(8))
    # Keras builds the optimizer of an .h5 file for no variables at all, also at a plain rate, so
    # that training on takes a new one.
    again = keras.optimizers.SGD(optimizer._learning_rate)
    again.build(loaded.trainable_variables)
    again.iterations.assign(optimizer.iterations)
    loaded.compile(again, keras.losses.MeanSquaredError())
    assert_train_alike(model, loaded)


def test_weights_only(tmp_path):
    model = model_with(NESTED, keras.optimizers.AdamW)
    train(model, 2)
    model.save_weights(tmp_path / "a.weights.h5")
    fresh = model_with(NESTED, keras.optimizers.AdamW)
    fresh.load_weights(tmp_path / "a.weights.h5")
    assert int(fresh.optimizer.iterations) == 16
    assert_train_alike(model, fresh)


def test_a_schedule_adds_no_variables_to_an_optimizer():
    optimizers = [keras.optimizers.Adam(0.1), keras.optimizers.Adam(NESTED)]
    counts = [len(optimizer.variables) for optimizer in optimizers]
    # A plain rate is a variable of the optimizer, a schedule is none.
    assert counts[1] == counts[0] - 1


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_every_schedule_in_one_file(suffix, tmp_path):
    parts = list(SCHEDULES.values())
    schedule = schedules.Sequential(parts, range_of_boundaries(len(parts)))
    model_with(schedule).save(tmp_path / f"model.{suffix}")
    loaded = keras.saving.load_model(tmp_path / f"model.{suffix}").optimizer._learning_rate
    for ours, theirs in zip(schedule.schedules, loaded.schedules, strict=True):
        assert_same(ours, theirs)


def range_of_boundaries(parts):
    return [10 * part for part in range(1, parts)]


@tensorflow_only("its saved graphs")
def test_tf_module(tmp_path):
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.schedules = list(SCHEDULES.values())

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def __call__(self, step):
            return [schedule(step) for schedule in self.schedules]

    tf.saved_model.save(Module(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for rates, schedule in zip(loaded(tf.constant(STEPS)), SCHEDULES.values(), strict=True):
        np.testing.assert_allclose(rates, schedule(STEPS), rtol=2e-6, atol=1e-7)


def test_cloned_optimizer():
    optimizer = keras.optimizers.Adam(NESTED)
    clone = type(optimizer).from_config(optimizer.get_config())
    assert_same(NESTED, clone._learning_rate)


@pytest.mark.slow
def test_another_process_goes_on_bit_for_bit(tmp_path):
    """Stopped in the middle of a cycle, saved, loaded by a new process, trained on."""
    script = textwrap.dedent(
        """
        import sys
        import keras, numpy as np, keras_cyclic as kc
        start, path, out, epochs = *sys.argv[1:4], int(sys.argv[4])
        keras.utils.set_random_seed(3)
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 1))
        if start == "new":
            schedule = kc.schedules.Warmup(kc.schedules.Triangular2(0.001, 0.05, 7), 3)
            layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)]
            model = keras.Sequential(layers)
            model.compile(keras.optimizers.Adam(schedule), keras.losses.MeanSquaredError())
        else:
            model = keras.saving.load_model(start)
            print("loaded at", float(model.optimizer.learning_rate))
        model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
        print("left at", float(model.optimizer.learning_rate))
        model.save(path)
        np.savez(out, *model.get_weights())
        """
    )

    def run(start, path, out, epochs):
        arguments = [sys.executable, "-c", script, start, path, out, str(epochs)]
        done = subprocess.run(
            list(map(str, arguments)), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if " at " in line)

    whole, first, second = (tmp_path / f"{name}.keras" for name in ("whole", "first", "second"))
    run("new", whole, tmp_path / "whole.npz", 5)
    before = run("new", first, tmp_path / "first.npz", 2)
    after = run(first, second, tmp_path / "second.npz", 3)
    # Step 20 is 17 steps into the cycles of 14, 3 of 7 up the second climb of half the height.
    expected = 0.001 + 0.049 / 2 * 3 / 7
    assert float(before["left at"]) == float(after["loaded at"]) == pytest.approx(expected)
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "second.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
