import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_cyclic as kc
from keras_cyclic._training_state import TrainingState
from tests import backends
from tests.backends import BACKEND

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
Y = (X @ RNG.normal(size=(4, 1))).astype("float32")
# On JAX, each shape of a batch is compiled anew, for seconds.
BATCH_SIZE = 20 if BACKEND == "jax" else 16
TEST = {"min_lr": 1e-4, "max_lr": 10.0, "steps": 16}
A = keras.optimizers
OPTIMIZERS = {
    "fresh Adam": lambda: A.Adam(0.01),
    "averaged weights": lambda: A.SGD(0.01, momentum=0.9, use_ema=True),
    "schedule": lambda: A.AdamW(kc.schedules.OneCycle(0.01, 100), weight_decay=0.01),
    "accumulated": lambda: A.Adam(0.01, gradient_accumulation_steps=2),
    "loss scale": lambda: A.LossScaleOptimizer(A.Adam(0.01), dynamic_growth_steps=5),
    "multi": lambda: A.MultiOptimizer(A.OptimizerMap(A.Adam(0.01), {".*bias": A.SGD(0.1)})),
    "by name": lambda: "rmsprop",
}
if BACKEND == "jax":
    OPTIMIZERS = {name: OPTIMIZERS[name] for name in ("schedule", "accumulated", "multi")}
if not hasattr(A, "MultiOptimizer"):  # It came with Keras 3.15.
    del OPTIMIZERS["multi"]


def make_model(optimizer=lambda: A.Adam(0.01), **arguments):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    arguments = backends.compile_arguments(**arguments)
    model.compile(optimizer(), "mse", metrics=["mae"], **arguments)
    return model


def state(model):
    metrics = [v for metric in model.metrics for v in metric.variables]
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in [*variables, *metrics]]


def random_state():
    return random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]


def train(model):
    history = model.fit(X, Y, BATCH_SIZE, epochs=2, verbose=0)
    return history.history["loss"], state(model), random.random(), np.random.rand()


def assert_same(one, other):
    assert len(one[1]) == len(other[1])
    for a, b in zip(one[1], other[1]):
        np.testing.assert_array_equal(a, b)
    assert (one[0], *one[2:]) == (other[0], *other[2:])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained"])
def test_a_fit_after_it_is_bit_for_bit_the_one_without_it(optimizer, trained):
    results = []
    for tested in (False, True):
        model = make_model(OPTIMIZERS[optimizer], steps_per_execution=3)
        if trained:
            model.fit(X, Y, BATCH_SIZE, verbose=0)
        if tested:
            before = state(model), random_state(), vars(model).get("history")
            function, rate = model.train_function, vars(model.optimizer)["_learning_rate"]
            result = kc.lr_range_test(model, X, Y, batch_size=BATCH_SIZE, verbose=0, **TEST)
            assert len(result.losses) > 5
            for a, b in zip(before[0], state(model)[: len(before[0])]):
                np.testing.assert_array_equal(a, b)
            assert (random_state(), vars(model).get("history")) == before[1:]
            assert vars(model.optimizer)["_learning_rate"] is rate
            assert model.train_function is function or not trained
            assert model.optimizer.built == trained
            assert not {"train_step", "make_train_function"} & set(vars(model))
        results.append(train(model))
    assert_same(*results)


class Stop(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    def __init__(self, event, error):
        super().__init__()
        self.event, self.error = event, error

    def on_train_batch_end(self, batch, logs=None):
        if self.event == "batch" and batch >= 2:
            raise self.error

    def on_epoch_begin(self, epoch, logs=None):
        if self.event == "epoch" and epoch == 1:
            raise self.error

    def on_test_batch_end(self, batch, logs=None):
        if self.event == "validation":
            raise self.error


class InterruptedStep(keras.Sequential):
    after = None

    def train_step(self, *arguments):
        if self.after is not None:
            if self.after == 0:
                raise KeyboardInterrupt
            self.after -= 1
        return super().train_step(*arguments)


def broken_data(count):
    for _i in range(count):
        yield X[:BATCH_SIZE], Y[:BATCH_SIZE]
    raise Stop("no more")


def interrupted_data(model):
    return kc.lr_range_test(model, broken_data(7), verbose=0, **TEST)


def interrupted_step(model):
    model.after = 7
    try:
        kc.lr_range_test(model, X, Y, verbose=0, **TEST)
    finally:
        model.after = None


def interrupted_callback(event):
    def fit(model):
        callbacks = [kc.callbacks.LRRangeTest(**TEST), Interrupt(event, KeyboardInterrupt)]
        data = {"validation_data": (X, Y)} if event == "validation" else {}
        model.fit(X, Y, BATCH_SIZE, epochs=3, verbose=0, callbacks=callbacks, **data)

    return fit


def interrupted_validation(model):
    """Where none of the test's own code runs: the validation of `fit` itself."""
    validation = tf.data.Dataset.from_generator(
        lambda: broken_data(0),
        output_signature=(tf.TensorSpec((None, 4)), tf.TensorSpec((None, 1))),
    )
    test = kc.callbacks.LRRangeTest(**TEST)
    model.fit(X, Y, BATCH_SIZE, epochs=3, validation_data=validation, verbose=0, callbacks=[test])


@pytest.mark.parametrize(
    "interrupted",
    [
        interrupted_data,
        interrupted_step,
        interrupted_callback("batch"),
        interrupted_callback("epoch"),
        interrupted_callback("validation"),
        interrupted_validation,
    ],
    ids=["data", "step", "batch callback", "epoch callback", "validation callback", "validation"],
)
def test_an_interrupted_test_leaves_nothing_behind(interrupted):
    def make():
        model = make_model()
        if interrupted is interrupted_step:
            layers = model.layers
            model = InterruptedStep([keras.Input((4,)), *layers])
            model.compile(A.Adam(0.01), "mse", metrics=["mae"], run_eagerly=True)
        model.fit(X, Y, BATCH_SIZE, verbose=0)
        return model

    model = make()
    before = state(model)
    with pytest.raises((KeyboardInterrupt, tf.errors.OpError, Stop)):
        interrupted(model)
    if interrupted is not interrupted_validation:
        for a, b in zip(before, state(model)):
            np.testing.assert_array_equal(a, b)
    # There, the next `fit` puts the model back before it begins.
    after = train(model)
    assert_same(after, train(make()))


def test_an_interrupt_leaves_no_averages_of_weights_in_the_model():
    """Keras on JAX puts them in when an exception ends `fit`."""
    model = make_model(lambda: A.SGD(0.01, use_ema=True))
    before = model.get_weights()
    callbacks = [kc.callbacks.LRRangeTest(**TEST), Interrupt("batch", Stop)]
    with pytest.raises(Stop):
        model.fit(X, Y, BATCH_SIZE, verbose=0, callbacks=callbacks)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert "finalize_variable_values" not in vars(model.optimizer)


def test_it_ends_by_itself_in_a_fit_with_everything_on():
    """Checkpoints, plateaus and validation in the same `fit` see the model put back."""
    # Keras on JAX cannot train twice with averaged weights.
    model = make_model(lambda: A.SGD(0.01, use_ema=BACKEND != "jax"))
    model.fit(X, Y, BATCH_SIZE, verbose=0)
    before = state(model)
    seen = []
    callbacks = [
        kc.callbacks.LRRangeTest(**TEST),
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append((logs, model.get_weights()))
        ),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=1e9),
    ]
    model.fit(X, Y, BATCH_SIZE, epochs=30, validation_data=(X, Y), verbose=0, callbacks=callbacks)
    assert len(seen) == 5 or seen[-1][0]["val_loss"] < 100
    for a, b in zip(model.get_weights(), seen[-1][1]):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(before, state(model)):
        np.testing.assert_array_equal(a, b)


def save_checkpoint(model, folder):
    if BACKEND == "tensorflow":
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder / "point"))


def test_an_unbuilt_optimizer_can_still_be_checkpointed_and_compiled_anew(tmp_path):
    for optimizer in ("rmsprop", A.Adam(0.01)):
        model = make_model(lambda optimizer=optimizer: optimizer)
        kc.lr_range_test(model, X, Y, verbose=0, **TEST)
        save_checkpoint(model, tmp_path)
        assert len(model.optimizer.variables) == 2
        # Without a trace of the variables that it has served in the test.
        model.layers[0].trainable = False
        model.compile(model.optimizer, "mse")
        model.fit(X, Y, verbose=0)
        save_checkpoint(model, tmp_path)
        model.save(tmp_path / "model.keras")
        keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.skipif(
    keras.__version__.startswith("3.12."),
    reason="what a generator draws during the test is not put back on Keras 3.12",
)
def test_random_generators_that_the_data_uses_go_back():
    tf.random.set_seed(5)

    def draw():
        drawn = keras.ops.convert_to_numpy(keras.random.normal((2,)))
        if BACKEND == "tensorflow":
            drawn = [drawn, tf.random.normal((2,))]
        return drawn, np.random.rand(), random.random()

    def noisy():
        while True:
            draw()
            yield X[:BATCH_SIZE], Y[:BATCH_SIZE]

    draw()
    model = make_model()
    tf.random.set_seed(5)
    draw()
    kc.lr_range_test(model, noisy(), verbose=0, **TEST)
    after = draw()
    make_model()
    tf.random.set_seed(5)
    draw()
    for a, b in zip(after, draw()):
        np.testing.assert_array_equal(a, b)


def test_it_copies_the_model_and_its_optimizer_once():
    model = make_model()
    model.fit(X, Y, verbose=0)
    size = sum(v.nbytes for v in state(model))
    kept = TrainingState(model)
    arrays = [*kept._values._values, *kept._metrics._values]
    assert sum(array.nbytes for array in arrays) <= size
    assert all(array.flags.owndata for array in arrays)
