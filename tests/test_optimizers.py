"""Layer-wise rates against NumPy in float64, against plain Keras, and through save and load."""

import re

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic._wrapped_optimizers import real_optimizers
from keras_cyclic.optimizers import layerwise, layerwise_decay
from tests.backends import BACKEND, compile_arguments

has_multi_optimizer = hasattr(keras.optimizers, "MultiOptimizer")
multi_optimizer = pytest.mark.skipif(not has_multi_optimizer, reason="came with Keras 3.15")

LAYERS = ("backbone", "neck", "head")
GROUPS = {"backbone/.*": 0.1, "head/.*": 3.0}
MULTIPLIERS = [0.1, 0.1, 0.5, 0.5, 3.0, 3.0]  # of kernel and bias of each layer
DEFAULT = 0.5
BATCH, STEPS = 8, 100

rng = np.random.default_rng(0)
x = rng.normal(size=(5 * BATCH, 4)).astype("float32")
y = rng.normal(size=(5 * BATCH, 1)).astype("float32")

# A name that a pattern must escape; PyTorch takes no dot in one.
DOT = "_" if BACKEND == "torch" else "."


def functional():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation="tanh", name="backbone")(inputs)
    hidden = keras.layers.Dense(3, activation="tanh", name="neck")(hidden)
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))


def sequential():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, activation="tanh", name=name) for name in LAYERS[:2]]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1, name="head")])


def train(model, epochs=STEPS // 5, **kwargs):
    return model.fit(x, y, BATCH, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def compiled(optimizer, jit_compile=False, **kwargs):
    model = functional()
    model.compile(optimizer, "mse", **compile_arguments(jit_compile=jit_compile, **kwargs))
    return model


def largest_difference(model, weights):
    return max(np.abs(a - b).max() for a, b in zip(model.get_weights(), weights, strict=True))


# The reference: back-propagation and the optimizers' updates in float64.


def gradients(weights, batch, target):
    k1, b1, k2, b2, k3, b3 = weights
    first = np.tanh(batch @ k1 + b1)
    second = np.tanh(first @ k2 + b2)
    error = 2 * (second @ k3 + b3 - target) / len(batch)
    into_second = error @ k3.T * (1 - second**2)
    into_first = into_second @ k2.T * (1 - first**2)
    pairs = [(batch, into_first), (first, into_second), (second, error)]
    return [g for value, delta in pairs for g in (value.T @ delta, delta.sum(axis=0))]


def triangle(t, low=0.01, high=0.05, up=20):
    position = t % (2 * up)
    return low + (high - low) * (1 - abs(position - up) / up)


def sgd_update(state, grad, rate, t):
    state["m"] = 0.9 * state.get("m", 0.0) - rate * grad
    return state["m"]


def adam_update(state, grad, rate, t):
    state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * grad
    state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * grad**2
    corrected = rate * np.sqrt(1 - 0.999 ** (t + 1)) / (1 - 0.9 ** (t + 1))
    return -corrected * state["m"] / (np.sqrt(state["v"]) + 1e-7)


def reference(weights, update, rate, *, decayed=(0.0,) * 6, global_clipnorm=np.inf):
    weights = [w.astype("float64") for w in weights]
    states = [{} for _ in weights]
    for t in range(STEPS):
        rows = slice(t % 5 * BATCH, (t % 5 + 1) * BATCH)
        grads = gradients(weights, x[rows].astype("float64"), y[rows])
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        grads = [g * min(1.0, global_clipnorm / norm) for g in grads]
        for i, multiplier in enumerate(MULTIPLIERS):
            own = multiplier * rate(t)
            weights[i] = weights[i] * (1 - decayed[i] * own)
            weights[i] = weights[i] + update(states[i], grads[i], own, t)
    return weights


TRIANGULAR = kc.schedules.Triangular(base_lr=0.01, max_lr=0.05, step_size=20)


@multi_optimizer
@pytest.mark.parametrize("rate", [0.03, TRIANGULAR], ids=["float", "schedule"])
def test_sgd_with_momentum_equals_numpy(rate):
    settings = {"momentum": 0.9, "global_clipnorm": 0.3, "loss_scale_factor": 8.0}
    optimizer = layerwise(keras.optimizers.SGD(rate, **settings), GROUPS, DEFAULT)
    model = compiled(optimizer, steps_per_execution=5, jit_compile=rate is TRIANGULAR)
    rates = triangle if rate is TRIANGULAR else lambda t: rate
    expected = reference(model.get_weights(), sgd_update, rates, global_clipnorm=0.3)
    unclipped = reference(model.get_weights(), sgd_update, rates)
    train(model)
    assert largest_difference(model, expected) < 1e-5
    assert largest_difference(model, unclipped) > 1e-2


@multi_optimizer
def test_adam_with_weight_decay_equals_numpy():
    model = functional()
    plain = keras.optimizers.Adam(TRIANGULAR, weight_decay=0.5)
    plain.exclude_from_weight_decay([model.get_layer("head").kernel], var_names=["bias"])
    model.compile(layerwise(plain, GROUPS, DEFAULT), "mse", **compile_arguments(jit_compile=False))
    decayed = (0.5, 0.0, 0.5, 0.0, 0.0, 0.0)
    expected = reference(model.get_weights(), adam_update, triangle, decayed=decayed)
    all_decayed = reference(model.get_weights(), adam_update, triangle, decayed=(0.5,) * 6)
    train(model)
    assert largest_difference(model, expected) < 1e-4
    assert largest_difference(model, all_decayed) > 1e-2


@multi_optimizer
@pytest.mark.parametrize(
    "settings",
    [
        {"clipnorm": 0.1, "use_ema": True, "ema_overwrite_frequency": 4},
        {"clipvalue": 0.05, "gradient_accumulation_steps": 2, "loss_scale_factor": 4.0},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_other_settings_do_what_they_do_without_groups(settings):
    def make():
        return keras.optimizers.AdamW(0.03, weight_decay=0.1, **settings)

    plain = compiled(make(), run_eagerly=True)
    grouped = compiled(layerwise(make(), {"head/.*": 1}), run_eagerly=True)
    initial = plain.get_weights()
    train(plain, epochs=2)
    train(grouped, epochs=2)
    assert largest_difference(plain, initial) > 1e-2
    assert largest_difference(grouped, plain.get_weights()) < 1e-6


@multi_optimizer
def test_a_multiplier_of_zero_holds_weights():
    optimizer = keras.optimizers.AdamW(TRIANGULAR, weight_decay=0.1)
    model = compiled(layerwise(optimizer, {"backbone/.*": 0}), run_eagerly=True)
    initial = model.get_weights()
    train(model, epochs=1)
    moved = [np.abs(a - b).max() > 0 for a, b in zip(model.get_weights(), initial)]
    assert moved == [False, False, True, True, True, True]


@multi_optimizer
@pytest.mark.parametrize(("make", "scaled"), [(functional, True), (sequential, False)])
def test_a_loaded_model_goes_on_identically(make, scaled, tmp_path):
    model = make()
    patterns = {f"(.*/)?{pattern}": factor for pattern, factor in GROUPS.items()}
    if make is sequential:  # The loaded model has other paths, none of which begins like this.
        patterns = {f"{model.name}/{pattern}": factor for pattern, factor in GROUPS.items()}
    # On JAX, Keras cannot `fit` twice with `use_ema`: weights and averages share their memory.
    settings = {"weight_decay": 0.5, "use_ema": BACKEND != "jax", "global_clipnorm": 0.3}
    make_plain = keras.optimizers.SGD if scaled else keras.optimizers.Adam
    plain = make_plain(TRIANGULAR, **settings)
    plain.exclude_from_weight_decay([model.get_layer("head").kernel], var_names=["bias"])
    optimizer = layerwise(plain, patterns, DEFAULT)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    model.compile(optimizer, "mse", **compile_arguments(jit_compile=False, steps_per_execution=5))
    train(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [[v.path for v in each.trainable_variables] for each in (model, loaded)]
    assert (paths[0] == paths[1]) == (make is functional)
    for each in (model, loaded):
        train(each, epochs=2)
    assert largest_difference(loaded, model.get_weights()) == 0
    rates = [
        [float(each.learning_rate) for each in real_optimizers(m.optimizer)]
        for m in (model, loaded)
    ]
    assert rates[0] == rates[1] == pytest.approx([triangle(20) * m for m in (0.1, 3.0, 0.5)])


@multi_optimizer
def test_a_config_is_of_use_for_another_model():
    optimizer = layerwise(keras.optimizers.SGD(0.1), GROUPS)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(functional().trainable_variables)
    wider = keras.Sequential([keras.Input((4,)), keras.layers.Dense(7, name="backbone")])
    copy = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(ValueError, match="Call `exclude_from_weight_decay` for this model's"):
        copy.build(wider.trainable_variables)
    copy.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match=r"matched by: 'backbone/\.\*', 'head/\.\*'. The paths"):
        copy.build(wider.trainable_variables)
    again = type(optimizer).from_config(optimizer.get_config())
    again.build(functional().trainable_variables)
    assert [len(group._trainable_variables) for group in again.optimizers] == [2, 2, 2]


@multi_optimizer
def test_callbacks():
    optimizer = layerwise(keras.optimizers.SGD(TRIANGULAR, momentum=0.9), GROUPS, DEFAULT)
    model = compiled(optimizer)
    momenta = []
    see = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda b, logs: momenta.append([g.momentum for g in groups])
    )
    groups = optimizer.optimizers
    train(model, epochs=4, callbacks=[kc.callbacks.CyclicalMomentum(0.8, 0.9), see])
    heights = np.array([(triangle(t) - 0.01) / 0.04 for t in range(20)])
    assert np.allclose(momenta, (0.9 - 0.1 * heights)[:, None])

    before = model.get_weights()
    test = kc.callbacks.LRRangeTest(min_lr=1e-4, max_lr=0.1, steps=10)
    train(model, epochs=1, callbacks=[test])
    assert test.result.learning_rates[-1] == pytest.approx(0.1)
    assert largest_difference(model, before) == 0
    assert float(groups[1].learning_rate) == pytest.approx(3 * triangle(20))

    model = compiled(
        layerwise(keras.optimizers.SGD(0.1, name="sgd"), GROUPS, DEFAULT), run_eagerly=True
    )
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9)
    logs = train(model, epochs=2, callbacks=[plateau]).history
    assert [float(group.learning_rate) for group in model.optimizer.optimizers] == pytest.approx(
        [0.005, 0.15, 0.025]
    )
    assert logs["learning_rate_sgd_backbone"] == pytest.approx([0.01, 0.01])
    assert {"learning_rate_sgd_head", "learning_rate_sgd_default"} <= set(logs)


@multi_optimizer
def test_a_range_test_does_not_count_a_group_without_variables():
    every = {f"{name}/.*": 0.1 for name in LAYERS}
    model = compiled(layerwise(keras.optimizers.SGD(0.1), every))
    seen = []
    see = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda b, logs: seen.append(
            float(model.optimizer.optimizers[0].learning_rate)
        )
    )
    test = kc.callbacks.LRRangeTest(min_lr=1e-4, max_lr=1e-3, steps=10)
    train(model, epochs=1, callbacks=[see, test])
    assert seen[0] == pytest.approx(1e-4)


@multi_optimizer
def test_group_names_are_unique():
    patterns = ["a_1", "a", "a/", "Ü+", "default", "x" * 90, "x" * 91]
    optimizer = layerwise(keras.optimizers.SGD(name="s"), dict.fromkeys(patterns, 1.0))
    names = [group.name for group in optimizer.optimizers]
    x40 = "x" * 40
    assert names == [
        "s_a_1", "s_a", "s_a_2", "s_group", "s_default", f"s_{x40}", f"s_{x40}_1", "s_default_1",
    ]  # fmt: skip


@multi_optimizer
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("sgd", GROUPS), TypeError, "`optimizer` must be a Keras optimizer"),
        (
            (lambda: layerwise(keras.optimizers.SGD(), GROUPS), GROUPS),
            TypeError,
            "`optimizer` must be a Keras optimizer that updates",
        ),
        (
            (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), GROUPS),
            TypeError,
            "goes around the result",
        ),
        ((lambda: keras.optimizers.SGD(lambda: 0.1), GROUPS), ValueError, "learning_rate=<func"),
        (
            (
                lambda: keras.optimizers.SGD(global_clipnorm=1.0, gradient_accumulation_steps=2),
                GROUPS,
            ),
            ValueError,
            "not have both `global_clipnorm` and `gradient_accumulation_steps`",
        ),
        ((keras.optimizers.SGD, [("a", 1)]), TypeError, "`multipliers` must be a dict"),
        ((keras.optimizers.SGD, {1: 1.0}), TypeError, "`multipliers` must be a dict"),
        ((keras.optimizers.SGD, {}), ValueError, "not empty"),
        ((keras.optimizers.SGD, {"(": 1.0}), ValueError, r"'\(', which is no regular expression"),
        ((keras.optimizers.SGD, {"a": -1.0}), ValueError, r"`multipliers\['a'\]` must be .* 0 or"),
        ((keras.optimizers.SGD, {"a": float("nan")}), ValueError, r"`multipliers\['a'\]` must be"),
        ((keras.optimizers.SGD, {"a": "1"}), TypeError, r"`multipliers\['a'\]` must be"),
        ((keras.optimizers.SGD, GROUPS, -1.0), ValueError, "`default` must be"),
        ((keras.optimizers.SGD, GROUPS, None), TypeError, "`default` must be"),
    ],
)
def test_refusals(arguments, error, message):
    optimizer, *rest = arguments
    optimizer = optimizer() if callable(optimizer) else optimizer
    with pytest.raises(error, match=message):
        layerwise(optimizer, *rest)


@multi_optimizer
def test_a_built_optimizer_is_refused():
    optimizer = keras.optimizers.SGD()
    optimizer.build(functional().trainable_variables)
    with pytest.raises(ValueError, match="must not be built"):
        layerwise(optimizer, GROUPS)


@multi_optimizer
def test_late_or_unsaveable_exclusions_are_refused():
    model = functional()
    optimizer = layerwise(keras.optimizers.AdamW(), GROUPS)
    optimizer.exclude_from_weight_decay([model.trainable_variables[0]])
    with pytest.raises(ValueError, match="have no place in a config before"):
        optimizer.get_config()
    optimizer.build(model.trainable_variables)
    assert optimizer.get_config()["assignment"]["undecayed"] == [True] + [False] * 5
    with pytest.raises(ValueError, match="only be called before"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])


PATHS = ", ".join(f"{layer}/{name}" for layer in LAYERS for name in ("kernel", "bias"))


@multi_optimizer
@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        ({"backbone": 1.0, "head/.*": 1.0}, f"matched by: 'backbone'. The paths are: {PATHS}"),
        (
            {".*kernel": 1.0, "head/.*": 1.0},
            f"head/kernel is matched by '.*kernel', 'head/.*'. The paths are: {PATHS}",
        ),
        # Keras's own map takes this one, since it is equal to the path.
        ({"head/bias": 1.0, "head/.*": 1.0}, "head/bias is matched by 'head/bias', 'head/.*'"),
    ],
)
def test_patterns_that_do_not_fit_the_model(multipliers, message):
    model = compiled(layerwise(keras.optimizers.SGD(), multipliers))
    before = model.get_weights()
    with pytest.raises(ValueError, match=re.escape(message)):
        train(model, epochs=1)
    assert largest_difference(model, before) == 0


@pytest.mark.skipif(has_multi_optimizer, reason="Keras is new enough")
def test_older_keras_is_refused():
    with pytest.raises(ImportError, match=r"came with Keras 3\.15"):
        layerwise(keras.optimizers.SGD(), GROUPS)


def backbone(name="backbone"):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="stem")(inputs)
    left = keras.layers.Dense(4, name="left1")(hidden)
    left = keras.layers.Dense(4, name=f"left{DOT}2")(keras.layers.Dropout(0.1)(left))
    right = keras.layers.Dense(4, name="right")(hidden)
    return keras.Model(inputs, keras.layers.Add()([left, right, hidden]), name=name)


def test_decay_follows_the_graph():
    inputs = keras.Input((4,))
    features = keras.layers.BatchNormalization(name="norm")(backbone()(inputs))
    heads = [keras.layers.Dense(1, name=name)(features) for name in ("one", "two")]
    model = keras.Model(inputs, heads)
    expected = {
        r"stem/.*": 0.5**4,
        r"left1/.*": 0.5**3,
        rf"left{re.escape(DOT)}2/.*": 0.5**2,
        r"right/.*": 0.5**2,
        r"norm/.*": 0.5,
        r"one/.*": 1.0,
        r"two/.*": 1.0,
    }
    assert layerwise_decay(model, 0.5) == expected
    assert list(layerwise_decay(model, 0.5).values()) == sorted(expected.values())
    model.get_layer("backbone").get_layer("left1").trainable = False
    del expected["left1/.*"]
    assert layerwise_decay(model, 0.5) == expected
    if has_multi_optimizer:
        model.compile(layerwise(keras.optimizers.SGD(), layerwise_decay(model)), ["mse", "mse"])
        model.fit(x, [y, y], verbose=0)


def test_decay_of_a_shared_layer_counts_the_longest_way():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    middle = keras.layers.Dense(4, name="middle")(shared(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(shared(middle)))
    assert layerwise_decay(model, 0.5) == {"shared/.*": 0.125, "middle/.*": 0.25, "head/.*": 1.0}


def test_decay_of_a_sequential_model_with_models_in_it():
    head = keras.Sequential([keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")])
    model = keras.Sequential([keras.Input((4,)), backbone(), keras.layers.ReLU(), head])
    path = head.trainable_variables[0].path.removesuffix("a/kernel")
    multipliers = layerwise_decay(model, 0.5)
    assert list(multipliers.values()) == [0.5**4, 0.5**3, 0.25, 0.25, 0.5, 1.0]
    assert list(multipliers)[-2:] == [f"{path}a/.*", f"{path}b/.*"]


def test_decay_where_a_path_begins_like_a_layer():
    class Outer(keras.layers.Layer):
        def build(self, shape):
            self.inner = keras.layers.Dense(4, name="inner")
            self.inner.build(shape)

        def call(self, inputs):
            return self.inner(inputs)

    inputs = keras.Input((4,))
    features = keras.Model(inputs, keras.layers.Dense(4, name="dense")(inputs), name="backbone")
    model = keras.Model(inputs, Outer(name="dense")(features(inputs)))
    assert layerwise_decay(model, 0.5) == {
        "dense/bias|dense/kernel": 0.5,
        "dense/inner/bias|dense/inner/kernel": 1.0,
    }


@pytest.mark.parametrize(
    ("make", "decay", "error", "message"),
    [
        (lambda: keras.layers.Dense(1), 0.5, TypeError, "`model` must be a Sequential or func"),
        (
            lambda: keras.Sequential([keras.layers.Dense(1)]),
            0.5,
            ValueError,
            "`model` must be built",
        ),
        (functional, 0.0, ValueError, "`decay` must be a factor above 0"),
        (functional, 1.5, ValueError, "`decay` must be a factor above 0"),
        (functional, "half", TypeError, "`decay` must be a factor above 0"),
        (
            lambda: keras.Sequential([keras.Input((4,)), backbone("first"), backbone("second")]),
            0.5,
            ValueError,
            "variables of the same path in two layers",
        ),
    ],
)
def test_decay_refusals(make, decay, error, message):
    with pytest.raises(error, match=message):
        layerwise_decay(make(), decay)
