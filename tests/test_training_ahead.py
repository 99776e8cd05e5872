"""OneCycle warns of a training of another length, once, and of no other."""

import copy
import pickle
import warnings

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND, compile_arguments, tensorflow_only

S = kc.schedules
SGD = keras.optimizers.SGD
X, Y = np.ones((80, 4), "float32"), np.ones((80, 1), "float32")


def compiled(optimizer, **kwargs):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="only")])
    model.compile(optimizer, "mse", **compile_arguments(**kwargs))
    return model


def warned(model, x=X, y=Y, **kwargs):
    """What `fit` says of 4 epochs of 10 steps, if not told otherwise."""
    if isinstance(x, np.ndarray):
        kwargs = {"batch_size": 8} | kwargs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, **({"epochs": 4, "verbose": 0} | kwargs))
    found = [each for each in caught if "OneCycle" in str(each.message)]
    assert all(each.filename == __file__ and each.category is UserWarning for each in found)
    return [str(each.message) for each in found]


def test_a_right_cycle_trains_without_any_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(SGD(S.OneCycle(0.1, 40))).fit(X, Y, batch_size=8, epochs=4, verbose=0)


def test_ends_long_before():
    schedule = S.OneCycle(0.1, 4)
    (message,) = warned(compiled(SGD(schedule)))
    assert "ends at step 4, but this training of 4 epochs of 10 steps" in message
    assert "from step 0 to step 40, its last 36 steps at the lowest rate" in message
    assert "make it total_steps=40." in message
    assert warned(compiled(SGD(schedule))) == [], "once for a schedule"
    model = compiled(SGD(S.OneCycle.from_config(schedule.get_config())))
    assert len(warned(model)) == 1, "another schedule"


def test_ends_long_after():
    (message,) = warned(compiled(SGD(S.OneCycle(0.1, 50))), validation_split=0.1)
    assert "ends at step 50, but this training of 4 epochs of 9 steps" in message
    assert "to step 36" in message
    assert "total_steps=36, unless further calls of `fit`" in message


@pytest.mark.parametrize(("total_steps", "is_warned"), [(35, 1), (36, 0), (44, 0), (45, 1)])
def test_a_tenth_is_no_matter(total_steps, is_warned):
    assert len(warned(compiled(SGD(S.OneCycle(0.1, total_steps))))) == is_warned


@pytest.mark.parametrize(
    ("optimizer", "total_steps"),
    [
        (lambda: SGD(0.5 * S.Warmup(S.OneCycle(0.1, 8), 5)), 35),
        (lambda: SGD(S.Sequential([S.Constant(0.1), S.OneCycle(0.1, 8)], [5])), 35),
        (lambda: SGD(S.Sampled(S.OneCycle(0.1, 8), 2), gradient_accumulation_steps=2), 40),
        (lambda: keras.optimizers.LossScaleOptimizer(SGD(S.OneCycle(0.1, 8))), 40),
    ],
)
def test_inside_other_schedules_and_optimizers(optimizer, total_steps):
    (message,) = warned(compiled(optimizer()))
    assert f"make it total_steps={total_steps}." in message


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with 3.15")
def test_once_for_all_groups():
    optimizer = kc.optimizers.layerwise(SGD(S.OneCycle(0.1, 8)), {".*kernel": 0.5})
    assert len(warned(compiled(optimizer))) == 1


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"steps_per_execution": 3}])
def test_however_steps_are_run(how):
    assert len(warned(compiled(SGD(S.OneCycle(0.1, 8)), **how))) == 1
    assert warned(compiled(SGD(S.OneCycle(0.1, 40)), **how)) == []


def test_batches_that_only_add_up_gradients_count():
    optimizer = SGD(S.OneCycle(0.1, 8), gradient_accumulation_steps=4)
    (message,) = warned(compiled(optimizer, run_eagerly=True))
    assert "from step 0 to step 40" in message


@pytest.mark.parametrize(
    "schedule",
    [
        S.Sequential([S.OneCycle(0.1, 8), S.Constant(0.1)], [8]),
        S.OneCycle(0.1, 8) * S.Constant(1.0),
        S.WarmupStableDecay(0.1, 2, 2, 2),
    ],
)
def test_silent_where_the_cycle_does_not_decide(schedule):
    assert warned(compiled(SGD(schedule))) == []


def test_silent_outside_of_fit():
    schedule = S.OneCycle(0.1, 8)
    model = compiled(SGD(schedule))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        schedule(range(100))
        model.evaluate(X, Y, verbose=0)
        model.train_on_batch(X, Y)
        float(model.optimizer.learning_rate)
        if BACKEND == "tensorflow":
            kc.lr_range_test(model, X, Y, steps=10, verbose=0)
        kc.fit_one_cycle(model, X, Y, epochs=3, max_lr=0.1, verbose=0)


def test_a_training_that_goes_on(tmp_path):
    model = compiled(SGD(S.OneCycle(0.1, 40)))
    assert len(warned(model, epochs=1)) == 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert warned(loaded, initial_epoch=1) == []
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    (message,) = warned(loaded, epochs=8)
    assert "of 8 epochs of 10 steps goes from step 10 to step 90" in message
    assert "make it total_steps=90." in message


def test_a_second_training_after_the_end():
    model = compiled(SGD(S.OneCycle(0.1, 40), momentum=0.9))
    assert warned(model) == []
    (message,) = warned(model, callbacks=[kc.callbacks.CyclicalMomentum()])
    assert "ends at step 40" in message
    assert "from step 40 to step 80, all of it at the lowest rate" in message
    assert "new optimizer, or use `keras_cyclic.fit_one_cycle`" in message


def test_data_of_unknown_length_after_the_first_epoch():

    def batches():
        while True:
            yield X[:8], Y[:8]

    model = compiled(SGD(S.OneCycle(0.1, 4)))
    (message,) = warned(model, batches(), None, steps_per_epoch=10)
    assert "to step 40" in message
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda x, y: True)
    (message,) = warned(compiled(SGD(S.OneCycle(0.1, 4))), data, None)
    assert "4 epochs of 1" in message


class TwoSteps(keras.Model):
    """Trains a part of itself with an optimizer of its own, twice a batch."""

    def __init__(self, schedule):
        super().__init__()
        self.part = keras.layers.Dense(1)
        self.part.build((None, 4))
        self.own_optimizer = SGD(schedule)

    def train_step(self, data):
        import tensorflow as tf

        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self.part(data[0])))
            weights = self.part.trainable_variables
            self.own_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return {"loss": loss}


@tensorflow_only("a train_step in TensorFlow's words")
def test_a_train_step_of_ones_own_is_counted_in_steps_of_the_optimizer():
    for total_steps, is_warned in ((40, 1), (80, 0)):
        model = TwoSteps(S.OneCycle(0.1, total_steps))
        model.compile()
        assert len(warned(model)) == is_warned


def test_copies_and_pickles():
    schedule = S.OneCycle(0.1, 4)
    assert len(warned(compiled(SGD(schedule)))) == 1
    for copied in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert repr(copied) == repr(schedule)


@tensorflow_only("operations of a graph")
def test_traced_as_often_and_with_no_more_operations():
    import tensorflow as tf

    optimizer = SGD(S.OneCycle(0.1, 4))
    optimizer.build([])
    step = optimizer._iterations
    in_fit = []

    class Look(keras.Model):
        def train_step(self, data):
            in_fit.append(tf.function(lambda: optimizer.learning_rate).get_concrete_function())
            return {"loss": tf.reduce_mean(data[0])}

    model = Look()
    model.compile(run_eagerly=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y, batch_size=40, epochs=1, verbose=0)
    outside = tf.function(lambda: optimizer._learning_rate(step)).get_concrete_function()
    names = [[op.type for op in each.graph.get_operations()] for each in (in_fit[0], outside)]
    assert names[0] == names[1]
