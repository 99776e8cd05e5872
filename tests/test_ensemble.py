"""The ensemble of saved models: against averages in NumPy of what its members predict."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_cyclic as kc

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 4)).astype("float32")
LABELS = rng.integers(0, 3, size=(24,))


def classifier(seed, units=3):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "softmax", name="one")])


def two_headed(seed, as_dict):
    """Two inputs and two outputs, one of which is a regression."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((4,), name="x")
    token = keras.Input((1,), name="token", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(token))
    joined = keras.layers.Concatenate()([x, embedded])
    classes = keras.layers.Dense(3, "softmax", name="classes")(joined)
    value = keras.layers.Dense(1, name="value")(joined)
    if as_dict:
        return keras.Model({"x": x, "token": token}, {"c": classes, "v": value})
    return keras.Model([x, token], [classes, value])


def save(models, folder):
    paths = [folder / f"{number}.keras" for number in range(len(models))]
    for model, path in zip(models, paths):
        model.save(path)
    return paths


def predictions(models, x):
    """The members' averages, in float64."""
    found = [model.predict(x, verbose=0) for model in models]
    return keras.tree.map_structure(
        lambda *same: np.mean([each.astype("float64") for each in same], axis=0), *found
    )


def assert_close(found, expected):
    keras.tree.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6),
        found,
        expected,
    )


FRESH = """
    import sys
    import keras, numpy as np

    model = keras.saving.load_model(sys.argv[1])
    data = np.load(sys.argv[2])
    found = model.predict(data["x"], verbose=0)
    np.testing.assert_allclose(found, data["expected"], rtol=1e-5, atol=1e-6)
    scores = model.evaluate(data["x"], data["labels"], verbose=0)
    np.testing.assert_allclose(scores, data["scores"], rtol=1e-5)
    assert "keras_cyclic" not in sys.modules
"""


def small_ensemble(folder):
    """An ensemble of three, and its members."""
    models = [classifier(seed) for seed in range(3)]
    for model in models:
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
        model.compile(
            keras.optimizers.SGD(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
    models[0].fit(X, LABELS, verbose=0)
    # Sorted results of a glob, and the names of all layers collide.
    save(models, folder)
    return kc.load_ensemble(sorted(folder.glob("*.keras"))), models


def test_predicts_evaluates_and_trains(tmp_path):
    ensemble, models = small_ensemble(tmp_path)
    expected = predictions(models, X)
    assert_close(ensemble.predict(X, verbose=0), expected)
    scores = ensemble.evaluate(X, LABELS, verbose=0)
    np.testing.assert_allclose(scores[0], -np.log(expected[range(24), LABELS]).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores[1], np.mean(expected.argmax(axis=1) == LABELS), rtol=1e-5)
    # Of the first member's kind, but new.
    assert int(ensemble.optimizer.iterations) == 0
    assert ensemble.optimizer._learning_rate.decay_rate == 0.9
    assert [layer.name for layer in ensemble.layers[1:]] == [
        "member_1", "member_2", "member_3", "one"
    ]  # fmt: skip
    before = ensemble.get_weights()
    history = ensemble.fit(X, LABELS, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert all(np.any(one != other) for one, other in zip(before, ensemble.get_weights()))


@pytest.mark.slow
def test_loads_in_a_fresh_process_without_this_library(tmp_path):
    ensemble, models = small_ensemble(tmp_path)
    expected = predictions(models, X)
    scores = ensemble.evaluate(X, LABELS, verbose=0)
    ensemble.save(tmp_path / "ensemble.keras")
    np.savez(tmp_path / "data.npz", x=X, labels=LABELS, expected=expected, scores=scores)
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FRESH), "ensemble.keras", "data.npz"],
        cwd=tmp_path,
        check=True,
        timeout=300,
    )


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15")
def test_members_with_layerwise_rates(tmp_path):
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1, name="adam")
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    models = [classifier(seed) for seed in range(2)]
    for model in models:
        # In a loaded Sequential model, the paths are other ones.
        layerwise = kc.optimizers.layerwise(optimizer, {"sequential.*/kernel": 0.0})
        model.compile(layerwise, "sparse_categorical_crossentropy")
        model.fit(X, LABELS, verbose=0)
    save(models, tmp_path)
    kc.load_ensemble(sorted(tmp_path.glob("*.keras"))).save(tmp_path / "ensemble.keras")
    ensemble = keras.saving.load_model(tmp_path / "ensemble.keras")
    held, moved = ensemble.optimizer.optimizers
    assert [v.name for v in held._trainable_variables] == ["kernel"] * 2
    assert [moved._use_weight_decay(v) for v in moved._trainable_variables] == [False] * 2
    before = ensemble.get_weights()
    ensemble.fit(X, LABELS, verbose=0)
    changed = [np.any(one != other) for one, other in zip(before, ensemble.get_weights())]
    assert changed == [False, True] * 2


@pytest.mark.parametrize("as_dict", [True, False], ids=["dicts", "lists"])
def test_several_inputs_and_outputs(as_dict, tmp_path):
    models = [two_headed(seed, as_dict) for seed in range(2)]
    tokens = rng.integers(0, 5, size=(24, 1))
    x = {"x": X, "token": tokens} if as_dict else [X, tokens]
    names = ("c", "v") if as_dict else ("classes", "value")
    losses = dict(zip(names, ("sparse_categorical_crossentropy", "mse")))
    models[0].compile("sgd", losses, metrics={names[1]: ["mae"]})
    ensemble = kc.load_ensemble(save(models, tmp_path))
    expected = predictions(models, x)
    assert_close(ensemble.predict(x, verbose=0), expected)
    targets = (LABELS, np.zeros((24, 1)))
    y = dict(zip(names, targets)) if as_dict else list(targets)
    mine = ensemble.evaluate(x, y, verbose=0, return_dict=True)
    theirs = models[0].evaluate(x, y, verbose=0, return_dict=True)
    assert set(mine) == set(theirs)
    value = expected["v"] if as_dict else expected[1]
    np.testing.assert_allclose(mine[f"{names[1]}_mae"], np.abs(value).mean(), rtol=1e-5)
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert_close(again.predict(x, verbose=0), expected)


@keras.saving.register_keras_serializable(package="test_ensemble")
class Subclassed(keras.Model):
    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.one = keras.layers.Dense(units)
        self.other = keras.layers.Dense(1)

    def call(self, x, training=False):
        return {"a": self.one(x), "b": self.other(x)}


class Scaled(keras.layers.Layer):
    def call(self, x):
        return 3.0 * x


def unregistered_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


def test_subclassed_and_custom_objects(tmp_path):
    models = [Subclassed() for _ in range(2)]
    for model in models:
        model.compile("sgd", {"a": "mse", "b": "mae"})
        model.fit(X, {"a": np.zeros((24, 2)), "b": np.ones((24, 1))}, verbose=0)
    ensemble = kc.load_ensemble(save(models, tmp_path))
    expected = predictions(models, X)
    assert_close(ensemble.predict(X, verbose=0), expected)
    y = {key: np.zeros_like(value) for key, value in expected.items()}
    loss = np.mean(expected["a"] ** 2) + np.mean(np.abs(expected["b"]))
    np.testing.assert_allclose(
        ensemble.evaluate(X, y, verbose=0, return_dict=True)["loss"], loss, rtol=1e-5
    )
    ensemble.save(tmp_path / "ensemble.keras")
    again = keras.saving.load_model(tmp_path / "ensemble.keras")
    assert_close(again.predict(X, verbose=0), expected)

    custom = [keras.Sequential([keras.Input((4,)), Scaled(), keras.layers.Dense(1)])] * 2
    custom[0].compile("sgd", unregistered_loss)
    paths = save(custom, tmp_path)
    with pytest.raises(TypeError, match="Scaled"):
        kc.load_ensemble(paths)
    objects = {"Scaled": Scaled, "unregistered_loss": unregistered_loss}
    found = kc.load_ensemble(paths, custom_objects=objects)
    expected = custom[0].predict(X, verbose=0)
    assert_close(found.predict(X, verbose=0), expected)
    score = found.evaluate(X, np.zeros((24, 1)), verbose=0)
    np.testing.assert_allclose(score, np.abs(expected).mean(), rtol=1e-5)


@keras.saving.register_keras_serializable(package="test_ensemble")
class SubclassedOfTwo(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = keras.layers.Dense(1)

    def call(self, x):
        a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
        return self.one(a) + keras.ops.sum(b, axis=-1, keepdims=True)


@pytest.mark.parametrize("as_dict", [True, False], ids=["dict", "list"])
def test_subclassed_with_several_inputs(as_dict, tmp_path):
    x = {"a": X, "b": X[:, :2]} if as_dict else [X, X[:, :2]]
    models = [SubclassedOfTwo() for _ in range(2)]
    for model in models:
        model.compile("sgd", "mse")
        model.fit(x, X[:, 0], verbose=0)
    ensemble = kc.load_ensemble(save(models, tmp_path))
    assert_close(ensemble.predict(x, verbose=0), predictions(models, x))


@keras.saving.register_keras_serializable(package="test_ensemble")
class WithOwnCompile(keras.Sequential):
    def compile(self, optimizer, extra=1):
        super().compile(optimizer, "mse")

    def get_compile_config(self):
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), "extra": 2}

    def compile_from_config(self, config):
        self.compile("sgd", config["extra"])


def test_a_compile_of_its_own_is_not_guessed_at(tmp_path):
    model = WithOwnCompile([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", extra=2)
    with pytest.warns(UserWarning, match=r"0\.keras' has a `compile` of its own"):
        ensemble = kc.load_ensemble(save([model], tmp_path))
    assert not ensemble.compiled
    assert_close(ensemble.predict(X, verbose=0), model.predict(X, verbose=0))


@keras.saving.register_keras_serializable(package="test_ensemble")
class BuiltAtOnce(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = keras.layers.Dense(1)
        self.one.build((None, 4))
        self.built = True

    def call(self, x):
        return self.one(x)


@keras.saving.register_keras_serializable(package="test_ensemble")
class OfTwoArguments(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one = keras.layers.Dense(1)

    def call(self, x, y):
        return self.one(x) + y


def test_models_of_which_no_member_can_be_made(tmp_path):
    with pytest.raises(ValueError, match=r"0\.keras' is a subclass.*inputs cannot be known"):
        kc.load_ensemble(save([BuiltAtOnce()], tmp_path))
    two = OfTwoArguments()
    two(X, X[:, :1])
    with (
        pytest.raises(ValueError, match=r"0\.keras' cannot be called on `keras\.Input`"),
        pytest.warns(UserWarning, match="cannot be built automatically"),
    ):
        kc.load_ensemble(save([two], tmp_path))


def test_half_precision_is_averaged_in_float32(tmp_path):
    inputs = keras.Input((1,))
    half = keras.layers.Dense(1, use_bias=False, dtype="mixed_float16")
    models = [keras.Model(inputs, half(inputs)) for _ in range(2)]
    paths = [tmp_path / "one.keras", tmp_path / "other.keras"]
    for value, model, path in zip((1.0, 1.0 + 2.0**-10), models, paths):
        half.set_weights([np.array([[value]])])
        model.save(path)
    ensemble = kc.load_ensemble(paths)
    found = ensemble.predict(np.ones((1, 1)), verbose=0)
    assert found.dtype == "float32"
    # Between two neighbours of float16.
    assert found.item() == 1.0 + 2.0**-11
    # One alone, and not compiled.
    alone = kc.load_ensemble(paths[1:])
    assert alone.predict(np.ones((1, 1)), verbose=0).item() == 1.0 + 2.0**-10
    assert not alone.compiled
    half.set_weights([np.array([[60000.0]])])
    models[0].save(paths[0])
    assert kc.load_ensemble(paths[:1] * 3).predict(np.ones((1, 1)), verbose=0).item() == 60000.0


def test_bad_input(tmp_path):
    good, _, wide = save([classifier(0), classifier(1), classifier(2, units=4)], tmp_path)
    with pytest.raises(ValueError, match=r"same outputs.*0\.keras' and .*4.*2\.keras'"):
        kc.load_ensemble([good, wide])
    other_inputs = tmp_path / "inputs.keras"
    two_headed(0, True).save(other_inputs)
    with pytest.raises(ValueError, match=r"same inputs.*0\.keras.*inputs\.keras"):
        kc.load_ensemble([good, other_inputs])
    inputs = keras.Input((4,))
    labels = tmp_path / "labels.keras"
    keras.Model(inputs, keras.ops.argmax(inputs, axis=1)).save(labels)
    with pytest.raises(ValueError, match=r"labels\.keras' is of type int32"):
        kc.load_ensemble([labels])
    unbuilt = tmp_path / "unbuilt.keras"
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(1)]).save(unbuilt)
    with pytest.raises(ValueError, match=r"unbuilt\.keras' is not built"):
        kc.load_ensemble([good, unbuilt])
    half = tmp_path / "half.keras"
    half.write_bytes(good.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"not whole.*half\.keras"):
        kc.load_ensemble([good, half])
    with pytest.raises(FileNotFoundError, match=r"missing\.keras"):
        kc.load_ensemble([good, tmp_path / "missing.keras"])
    for single in (good, str(good), None):
        with pytest.raises(TypeError, match="`filepaths` must be a list"):
            kc.load_ensemble(single)
    with pytest.raises(TypeError, match="3 of type int"):
        kc.load_ensemble([good, 3])
    with pytest.raises(ValueError, match="one at least"):
        kc.load_ensemble([])
