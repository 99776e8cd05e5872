import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_cyclic as kc
from tests import backends
from tests.backends import BACKEND, tensorflow_only
from tests.oracles.range_test import linear_losses, stopping_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
Y = (X @ RNG.normal(size=(4, 1)) + 0.1).astype("float32")
WEIGHT = RNG.uniform(0.5, 2, size=60).astype("float32")
BATCHES = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 60, 16)]
RANGE = {"min_lr": 1e-4, "max_lr": 20.0, "steps": 30}


def linear_model(optimizer="sgd", **arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse", **backends.compile_arguments(**arguments))
    return model


def batches(count=None):
    for i in range(len(BATCHES) * 100 if count is None else count):
        yield BATCHES[i % len(BATCHES)]


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return BATCHES[index]


def expected(result, model, data=BATCHES):
    return linear_losses(data, model.get_weights()[0], result.learning_rates)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps_per_execution": 1},
        {"steps_per_execution": 1, "run_eagerly": True},
        {"steps_per_execution": 7},
        {"steps_per_execution": 50, "jit_compile": True},
    ],
    ids=str,
)
def test_rates_and_losses_are_those_of_the_batches(arguments):
    model = linear_model(**arguments)
    result = kc.lr_range_test(model, X, Y, batch_size=16, shuffle=False, verbose=0, **RANGE)
    losses = expected(result, model)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4, atol=1e-6)
    count = stopping_step(losses, 0.9, 4.0)
    assert len(losses) == count < 30
    assert result.diverged
    np.testing.assert_allclose(result.learning_rates, np.geomspace(1e-4, 20, 30)[:count], rtol=1e-6)


def test_each_step_is_made_at_its_rate():
    """With a gradient of 1, the weight falls by each rate; it is the next batch's loss."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(kc.schedules.Constant(0.5))
    arguments = backends.compile_arguments(steps_per_execution=3)
    model.compile(optimizer, lambda _, prediction: prediction, **arguments)
    model.set_weights([np.array([[2.0]])])
    x = np.ones((16, 1), "float32")
    result = kc.lr_range_test(
        model, x, x, batch_size=8, verbose=0, min_lr=1e-3, max_lr=1.0, steps=10, restore=False
    )
    weights = 2 - np.cumsum([0, *np.geomspace(1e-3, 1, 10)])
    np.testing.assert_allclose(result.losses, weights[:10], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[0].item(), weights[10], rtol=1e-6)
    assert int(optimizer.iterations) == 10


@pytest.mark.parametrize(
    "make_data",
    [
        dataset,
        lambda: dataset().repeat(),
        lambda: dataset().filter(lambda x, y: True),
        Sequence,
        lambda: Sequence(workers=2),
        batches,
        lambda: batches(4),
    ],
    ids=["finite", "endless", "unknown", "sequence", "workers", "generator", "short generator"],
)
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_data_of_every_kind_goes_round(make_data, steps_per_execution):
    model = linear_model(**backends.steps_at_once(steps_per_execution))
    data = make_data()
    workers = getattr(data, "workers", 1) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = kc.lr_range_test(model, data, shuffle=False, verbose=0, **RANGE)
    # Elsewhere, `fit` looks at the first batch before it trains, and these do not go back.
    taken = 1 if workers and BACKEND != "tensorflow" else 0
    data = BATCHES[taken:] + BATCHES[:taken]
    np.testing.assert_allclose(result.losses, expected(result, model, data), rtol=1e-4, atol=1e-6)
    assert len(result.losses) > 20


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_in_fit_it_goes_round_by_itself_and_ends_fit(steps_per_execution):
    model = linear_model(**backends.steps_at_once(steps_per_execution))
    test = kc.callbacks.LRRangeTest(**RANGE)
    history = model.fit(X, Y, 16, shuffle=False, verbose=0, callbacks=[test])
    np.testing.assert_allclose(
        test.result.losses, expected(test.result, model), rtol=1e-4, atol=1e-6
    )
    assert len(test.result.losses) > 20
    assert np.isfinite(history.history["loss"]).all()
    assert not model.stop_training
    # Long before the last epoch: the test ends `fit`.
    history = model.fit(X, Y, 16, epochs=1000, verbose=0, callbacks=[test])
    assert len(history.history["loss"]) < 10


def test_in_fit_a_generator_that_cannot_be_read_again_ends_the_test():
    test = kc.callbacks.LRRangeTest(**RANGE)
    with pytest.warns(UserWarning, match="cannot be read once more"):
        linear_model().fit(batches(4), verbose=0, callbacks=[test])
    assert 4 <= len(test.result.losses) < 10
    with pytest.raises(ValueError, match="Take more `steps`, and give data"):
        test.result.suggest()


def test_a_generator_is_read_no_further_than_the_test():
    generator = enumerate(batches())
    result = kc.lr_range_test(linear_model(), (batch for _, batch in generator), verbose=0, **RANGE)
    assert len(result.losses) <= next(generator)[0] <= 30


def test_another_callback_sees_each_step_as_it_is():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation="tanh", kernel_regularizer="l2"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(kc.schedules.Constant(0.1)), "mse", metrics=["mae"])

    class Seen(keras.callbacks.Callback):
        weights, rates = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.rates.append(float(self.model.optimizer.learning_rate))
            self.weights.append(self.model.get_weights())

    first = model.get_weights()
    test = kc.callbacks.LRRangeTest(**RANGE)
    model.fit(
        dataset().map(lambda x, y: (x, y, tf.abs(y[:, 0]) + 0.5)).repeat(),
        steps_per_epoch=100,
        verbose=0,
        callbacks=[test, Seen()],
    )
    # The last step is over, and so is the test, when a callback hears of it.
    np.testing.assert_array_equal(Seen.rates[:-1], test.result.learning_rates[:-1])
    for step, weights in enumerate([first, *Seen.weights][: len(test.result.losses)]):
        model.set_weights(weights)
        x, y = BATCHES[step % 4]
        loss = model.evaluate(x, y, sample_weight=np.abs(y[:, 0]) + 0.5, verbose=0)[0]
        np.testing.assert_allclose(test.result.losses[step], loss, rtol=1e-5)


def test_sample_weights_class_weights_and_linear_spacing():
    weighted = [(x, y, WEIGHT[16 * i : 16 * i + 16]) for i, (x, y) in enumerate(BATCHES)]
    arguments = dict(batch_size=16, shuffle=False, verbose=0, spacing="linear", **RANGE)
    model = linear_model(steps_per_execution=4)
    result = kc.lr_range_test(model, X, Y, sample_weight=WEIGHT, **arguments)
    losses = expected(result, model, weighted)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4, atol=1e-6)
    rates = np.linspace(1e-4, 20, 30)[: len(losses)]
    np.testing.assert_allclose(result.learning_rates, rates, rtol=1e-6)
    classes = (Y > 0).astype("float32")
    by_class = [(x, (y > 0) * 1.0, np.where(y[:, 0] > 0, 3.0, 0.5)) for x, y in BATCHES]
    model = linear_model(steps_per_execution=4)
    result = kc.lr_range_test(model, X, classes, class_weight={0: 0.5, 1: 3.0}, **arguments)
    losses = expected(result, model, by_class)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4, atol=1e-6)


def test_several_inputs_and_outputs():
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    both = keras.layers.Concatenate()([left, right])
    outputs = [keras.layers.Dense(1, name=name)(both) for name in ("one", "two")]
    model = keras.Model([left, right], outputs)
    model.compile("adam", ["mse", "mae"], loss_weights=[1.0, 0.5])
    data = [X[:, :2], X[:, 2:]], [Y, -Y]
    result = kc.lr_range_test(model, *data, batch_size=60, verbose=0, **RANGE)
    loss = model.evaluate(*data, batch_size=60, return_dict=True, verbose=0)["loss"]
    np.testing.assert_allclose(result.losses[0], loss, rtol=1e-5)
    assert len(result.losses) == 30 or result.diverged


def group_losses(ratios, model, rates):
    """Gradient descent with a bias, in NumPy; kernel and bias at their own rates."""
    kernel, bias = (np.array(w, "float64") for w in model.get_weights())
    losses = []
    for step, rate in enumerate(rates):
        x, y = BATCHES[step % 4]
        error = x @ kernel + bias - y
        losses.append(np.mean(error**2))
        kernel -= ratios[0] * rate * 2 / len(x) * x.T @ error
        bias -= ratios[1] * rate * 2 * np.mean(error)
    return losses


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15")
@pytest.mark.parametrize("rates", [(0.01, 0.05), "warm-up", "selector"], ids=str)
def test_the_groups_of_a_multi_optimizer_keep_their_ratios(rates):
    sgd = keras.optimizers.SGD
    if rates == "warm-up":
        slow, fast = (
            sgd(kc.schedules.Warmup(kc.schedules.Constant(rate), 10)) for rate in (0.01, 0.05)
        )
    else:
        slow, fast = sgd(0.01), sgd(0.05)
    chosen = keras.optimizers.OptimizerMap(slow, {".*bias": fast})
    if rates == "selector":
        chosen = lambda variable: fast if "bias" in variable.path else slow  # noqa: E731
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    arguments = backends.compile_arguments(steps_per_execution=4)
    model.compile(keras.optimizers.MultiOptimizer(chosen), "mse", **arguments)
    kept = [slow._learning_rate, fast._learning_rate]
    result = kc.lr_range_test(model, X, Y, batch_size=16, shuffle=False, verbose=0, **RANGE)
    losses = group_losses((0.2, 1.0), model, result.learning_rates)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4, atol=1e-6)
    assert [slow._learning_rate, fast._learning_rate] == kept
    if rates != "warm-up":
        assert [float(rate) for rate in kept] == pytest.approx([0.01, 0.05])


def test_under_a_loss_scale_optimizer_and_in_mixed_precision():
    model = linear_model(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8.0)
    )
    result = kc.lr_range_test(model, X, Y, batch_size=16, shuffle=False, verbose=0, **RANGE)
    np.testing.assert_allclose(result.losses, expected(result, model), rtol=1e-4, atol=1e-6)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        # The first scale overflows float16, and so the first steps are skipped.
        model = linear_model(steps_per_execution=4)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        result = kc.lr_range_test(model, X, Y, batch_size=16, shuffle=False, verbose=0, **RANGE)
        assert len(result.losses) > 20
        np.testing.assert_allclose(
            result.learning_rates, np.geomspace(1e-4, 20, 30)[: len(result.losses)], rtol=1e-6
        )
        np.testing.assert_allclose(result.losses[0], expected(result, model)[0], rtol=1e-2)
    finally:
        keras.config.set_dtype_policy(policy)


class OwnLoss(keras.Model):
    """Keeps its own running mean, out of sight of `metrics`."""

    name_of_loss = "loss"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.running = keras.metrics.Mean(name="anything")

    @property
    def metrics(self):
        return []

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        self.running.update_state(loss)
        return {self.name_of_loss: self.running.result()}


class RenamedLoss(keras.Model):
    """A `train_step` that runs on each backend."""

    name_of_loss = "loss"

    def train_step(self, *arguments):
        if BACKEND == "jax":
            logs, state = super().train_step(*arguments)
            return {self.name_of_loss: logs["loss"]}, state
        return {self.name_of_loss: super().train_step(*arguments)["loss"]}


Own = OwnLoss if BACKEND == "tensorflow" else RenamedLoss


class OwnName(Own):
    name_of_loss = "generator_loss"


class OwnTrainFunction(OwnLoss):
    def make_train_function(self):
        @tf.function
        def step(iterator):
            x, y = next(iterator)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

        self.train_function = step


class UnresettableInGraph(keras.metrics.Mean):
    def reset_state(self):
        if not tf.executing_eagerly():
            raise RuntimeError("only between steps")
        super().reset_state()


def own_model(kind):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    model = kind(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.compile("sgd", "mse")
    return model


def test_a_custom_train_step_is_recorded_in_the_graph():
    model = own_model(Own)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = kc.lr_range_test(model, X, Y, batch_size=16, shuffle=False, verbose=0, **RANGE)
    np.testing.assert_allclose(result.losses, expected(result, model), rtol=1e-4, atol=1e-6)
    model = own_model(OwnName)
    arguments = dict(batch_size=16, shuffle=False, verbose=0, **RANGE)
    result = kc.lr_range_test(model, X, Y, monitor="generator_loss", **arguments)
    np.testing.assert_allclose(result.losses, expected(result, model), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"Received: train_step returned \['generator_loss'\]"):
        kc.lr_range_test(model, X, Y, **arguments)


@tensorflow_only("elsewhere the steps are no graph, and run one by one")
@pytest.mark.parametrize("reason", ["does not call `train_step`", "cannot be reset"])
def test_what_the_graph_cannot_record_is_run_step_by_step(reason):
    model = own_model(OwnTrainFunction if "call" in reason else OwnLoss)
    if "reset" in reason:
        model.running = UnresettableInGraph()
        model.steps_per_execution = 3
    with pytest.warns(UserWarning, match=reason) as caught:
        result = kc.lr_range_test(model, dataset().repeat(), shuffle=False, verbose=0, **RANGE)
    assert len([each for each in caught if "step by step" in str(each.message)]) == 1
    # The batches of the execution that showed the need are gone.
    skipped = 1 if "call" in reason else 0
    data = BATCHES[skipped:] + BATCHES[:skipped]
    np.testing.assert_allclose(result.losses, expected(result, model, data), rtol=1e-4, atol=1e-6)
    assert len(result.losses) > 20


def test_a_loss_that_is_not_finite_ends_the_test_and_is_a_result():
    labels = Y.copy()
    labels[40] = np.nan
    model = linear_model(steps_per_execution=50)
    result = kc.lr_range_test(model, X, labels, batch_size=16, shuffle=False, verbose=0)
    assert result.diverged
    assert len(result.losses) == 3
    assert np.isnan(result.losses[-1])
    assert np.isfinite(result.losses[:-1]).all()
    assert np.isfinite(model.get_weights()[0]).all()


def test_the_steps_of_the_last_execution_beyond_the_test_leave_no_record():
    result = kc.lr_range_test(
        linear_model(steps_per_execution=50),
        dataset().repeat(),
        verbose=0,
        min_lr=1e-4,
        max_lr=1e-3,
        steps=12,
    )
    assert len(result.losses) == len(result.learning_rates) == 12
    assert not result.diverged


@pytest.mark.parametrize("steps_per_execution", [1, 4])
@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_validation_loss_takes_the_place_of_the_batch_loss(steps_per_execution, kind):
    model = linear_model(**backends.steps_at_once(steps_per_execution))
    first = model.get_weights()[0]
    data = (X[:20], Y[:20])
    if kind == "dataset":
        data = tf.data.Dataset.from_tensor_slices(data).batch(10)
    result = kc.lr_range_test(
        model,
        X,
        Y,
        batch_size=16,
        shuffle=False,
        verbose=0,
        validation_data=data,
        validation_every=3,
        **RANGE,
    )
    rates = np.geomspace(1e-4, 20, 30)
    kernel, losses = np.array(first, "float64"), []
    for step, rate in enumerate(rates):
        if step % 3 == 0:
            losses.append(np.mean((X[:20] @ kernel - Y[:20]) ** 2))
        x, y = BATCHES[step % 4]
        kernel -= rate * 2 / len(x) * x.T @ (x @ kernel - y)
    count = stopping_step(losses, 0.9, 4.0)
    np.testing.assert_allclose(result.losses, losses[:count], rtol=1e-4)
    np.testing.assert_allclose(result.learning_rates, rates[::3][:count], rtol=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], first)
    assert result.loss_name == "val_loss"


def test_negative_losses_do_not_look_like_an_explosion():
    model = linear_model()
    model.compile("sgd", lambda y, prediction: prediction**2 - 5.0)
    result = kc.lr_range_test(
        model, X, Y, batch_size=60, verbose=0, min_lr=1e-4, max_lr=1e-2, steps=20
    )
    assert len(result.losses) == 20
    assert not result.diverged


def test_without_restore_the_model_keeps_what_it_learnt_but_not_the_rate():
    schedule = kc.schedules.Constant(0.01)
    for optimizer, rate in ((keras.optimizers.SGD(0.01), None), ("sgd", schedule)):
        model = linear_model(optimizer)
        if rate is not None:
            model.optimizer.learning_rate = rate
        first = model.get_weights()[0]
        kept = model.optimizer._learning_rate
        kc.lr_range_test(model, X, Y, verbose=0, restore=False, max_lr=1e-2, steps=20)
        assert np.abs(model.get_weights()[0] - first).max() > 1e-3
        assert model.optimizer._learning_rate is kept
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
        assert int(model.optimizer.iterations) == 20


def test_the_progress_bar_counts_the_steps(capsys):
    test = {"min_lr": 1e-4, "max_lr": 1e-2, "steps": 20}
    kc.lr_range_test(linear_model(), X, Y, **test)
    shown = capsys.readouterr().out
    assert "20/20" in shown
    assert "learning_rate: 0.01" in shown
    assert "Epoch" not in shown
    kc.lr_range_test(linear_model(), X, Y, verbose=0, **test)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 1.0}, "`min_lr` must be below `max_lr`"),
        ({"min_lr": 0.0}, "`min_lr` must be a finite number above 0"),
        ({"steps": 9}, "`steps` must be at least 10"),
        ({"stop_factor": 1.0}, "`stop_factor` must be above 1"),
        ({"smoothing": 1.0}, "`smoothing` must be"),
        ({"spacing": "cosine"}, "`spacing` must be one of"),
        ({"validation_data": (X, Y), "validation_every": 0}, "`validation_every` must be"),
        ({"validation_data": (X,)}, "must have labels"),
        ({"validation_data": (X, None)}, "must have labels"),
        ({"validation_data": X}, "can be read again"),
        ({"validation_data": batches()}, "can be read again"),
        ({"validation_data": dataset().map(lambda x, y: x)}, "must have labels"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_step(arguments, message):
    model = linear_model()
    first = model.get_weights()[0]
    with pytest.raises(ValueError, match=message):
        kc.lr_range_test(model, X, Y, verbose=0, **arguments)
    np.testing.assert_array_equal(model.get_weights()[0], first)
    assert int(model.optimizer.iterations) == 0
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize(
    "data",
    [
        (X[:0], Y[:0]),
        (dataset().take(0),),
        (dataset().filter(lambda x, y: False),),
        (iter(()),),
    ],
    ids=["arrays", "dataset", "unknown", "generator"],
)
def test_empty_data_is_refused(data):
    with pytest.raises(ValueError, match="empty"):
        kc.lr_range_test(linear_model(), *data, verbose=0)


def test_a_model_that_is_not_ready_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"Call `model.compile"):
        kc.lr_range_test(model, X, Y, verbose=0)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"Call `model.build"):
        kc.lr_range_test(model, X, Y, verbose=0)
    if BACKEND == "tensorflow":
        # Elsewhere, `fit` builds the model before it tells its callbacks that it begins.
        with pytest.raises(ValueError, match=r"Call `model.build"):
            model.fit(X, Y, verbose=0, callbacks=[kc.callbacks.LRRangeTest()])
