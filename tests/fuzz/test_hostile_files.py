"""Hostile files: what they hold runs no code, and is refused or loaded as something harmless.

The safe mode of Keras is never switched off here.
"""

import base64
import contextlib
import json
import marshal
import os
import pathlib
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.fuzz import drawn

LIBRARY = pathlib.Path(kc.__file__).parent


def small_model(rate, optimizer=keras.optimizers.SGD):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer(rate) if isinstance(optimizer, type) else optimizer, "mse")
    return model


@pytest.fixture
def flag(tmp_path, monkeypatch):
    """A path that hostile code would create, and an environment that commands would find."""
    path = tmp_path / "code_has_run"
    monkeypatch.setenv("FLAG", str(path))
    yield path
    assert not path.exists()
    assert keras.src.saving.serialization_lib.in_safe_mode() in (None, True)


def marshalled():
    def attack(*arguments):
        import os

        open(os.environ["FLAG"], "w").close()
        return arguments[0]

    code = base64.b64encode(marshal.dumps(attack.__code__)).decode()
    return {"code": code, "defaults": None, "closure": None}


def function(module, name, registered_name=None):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered_name or name,
    }


def instance(module, name, config=None, registered_name=None):
    return {
        "module": module,
        "class_name": name,
        "config": config or {},
        "registered_name": registered_name,
    }


def lambda_layer():
    return instance(
        "keras.layers",
        "Lambda",
        {"name": "l", "function": {"class_name": "__lambda__", "config": {"value": marshalled()}}},
    )


HOSTILE = {
    "lambda": lambda: {"class_name": "__lambda__", "config": {"value": marshalled()}},
    "lambda layer": lambda_layer,
    "lambda layer of old": lambda: instance(
        "keras.layers",
        "Lambda",
        {"name": "l", "function": [marshalled()["code"], None, None], "function_type": "lambda"},
    ),
    "os.system": lambda: function("os", "system"),
    "posix": lambda: function("posix", "system", "posix>system"),
    "subprocess": lambda: instance("subprocess", "Popen", {"args": ["touch", "$FLAG"]}),
    "subprocess, registered": lambda: instance(
        "subprocess", "Popen", {"args": "touch $FLAG", "shell": True}, "subprocess>Popen"
    ),
    "eval": lambda: function("builtins", "eval"),
    "exec": lambda: function("builtins", "exec"),
    "__import__": lambda: function("builtins", "__import__"),
    "path of a module": lambda: function("keras_cyclic.schedules.envelope", "functools.partial"),
    "dunder": lambda: function("keras_cyclic.profiles", "__builtins__"),
    "ours, not registered": lambda: function("keras_cyclic.callbacks.snapshots", "_write_whole"),
    "keras that reads": lambda: function("keras.utils", "get_file"),
    "keras that loads": lambda: function("keras.saving", "load_model"),
    "keras that unlocks": lambda: function("keras.config", "enable_unsafe_deserialization"),
    "keras.src": lambda: function("keras.src.utils.python_utils", "func_load"),
    "keras through a module": lambda: instance("keras.src.utils.file_utils", "os"),
    "a layer that reads a graph": lambda: instance(
        "keras.layers", "TFSMLayer", {"filepath": "/tmp", "call_endpoint": "serve"}
    ),
    "a layer that reads a file": lambda: instance(
        "keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}
    ),
    "torch": lambda: instance("keras.layers", "TorchModuleWrapper", {"module": "gASVAAA="}),
    "a class for an object": lambda: instance("builtins", "object"),
    "a schedule in its place": lambda: instance(
        "keras.optimizers.schedules", "ExponentialDecay", {}
    ),
    "a tensor": lambda: {
        "class_name": "__tensor__",
        "config": {"value": [1e400], "dtype": "float32"},
    },
    "deep": lambda: json.loads('{"a":' * 400 + "1" + "}" * 400),
    "a string": lambda: "__import__('os').system('touch $FLAG')",
    "a list": lambda: ["linear", {"class_name": "__lambda__", "config": {"value": marshalled()}}],
}

# A machine may be without PyTorch, which Keras then says.
REFUSALS = (ValueError, TypeError, RecursionError, ImportError)
SCHEDULES = [
    (kc.schedules.Cyclical(0.1, 0.2, 10), ("profile", "scale_fn", "scale_mode", "step_size")),
    (kc.schedules.OneCycle(0.1, 100, profile=("linear", "cosine")), ("profile",)),
    (kc.schedules.Warmup(kc.schedules.Constant(0.1), 10), ("schedule", "profile")),
    (kc.schedules.Sequential([kc.schedules.Constant(0.1)], []), ("schedules",)),
    (kc.schedules.Constant(0.1) * kc.schedules.Constant(0.1), ("factor", "schedule")),
]


def edited(source, target, edit, weights=None):
    """A `.keras` file with another config, made by `edit`, and other weights."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                data = json.dumps(edit(json.loads(data))).encode()
            elif name == "model.weights.h5" and weights is not None:
                data = weights(data)
            new.writestr(name, data)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_argument_of_a_config(name, flag):
    for schedule, arguments in SCHEDULES:
        for argument in arguments:
            config = schedule.get_config() | {argument: HOSTILE[name]()}
            with drawn.watched(), pytest.raises(REFUSALS):
                type(schedule).from_config(config)
    with drawn.watched(), pytest.raises(REFUSALS):
        kc.profiles.FunctionProfile.from_config({"function": HOSTILE[name]()})(0.5)


FILES = ["lambda", "lambda layer", "os.system", "subprocess, registered", "eval", "dunder"]


def test_hostile_schedules_in_a_file(flag, tmp_path):
    """In the place of an argument, of a schedule, of the optimizer and of a part of the model."""
    source, target = tmp_path / "model.keras", tmp_path / "hostile.keras"
    small_model(kc.schedules.Cyclical(0.1, 0.2, 10)).save(source)

    def optimizer(config):
        return config["compile_config"]["optimizer"]

    def rate(config):
        return optimizer(config)["config"]["learning_rate"]

    places = [
        lambda config, bad: rate(config)["config"].update(profile=bad),
        lambda config, bad: rate(config)["config"].update(scale_fn=bad),
        lambda config, bad: optimizer(config)["config"].update(learning_rate=bad),
        lambda config, bad: config["compile_config"].update(optimizer=bad),
        lambda config, bad: optimizer(config).update(
            instance(
                "keras_cyclic._callback_state",
                "OptimizerWithState",
                {"optimizer": bad},
                "keras_cyclic>OptimizerWithState",
            )
        ),
    ]
    for place in places:
        for name in FILES:

            def edit(config, place=place, name=name):
                place(config, HOSTILE[name]())
                return config

            edited(source, target, edit)
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                model = keras.saving.load_model(target)
                model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    for name in ("lambda layer", "a layer that reads a graph"):
        edited(
            source,
            target,
            lambda config, name=name: config["config"]["layers"].append(HOSTILE[name]()) or config,
        )
        for load in (keras.saving.load_model, lambda path: kc.load_ensemble([source, path])):
            with pytest.raises((ValueError, TypeError)):
                load(str(target))


def test_a_hostile_compile_config_of_an_ensemble(flag, tmp_path):
    """The ensemble reads it by itself."""
    source, target = str(tmp_path / "model.keras"), str(tmp_path / "hostile.keras")
    small_model(0.1).save(source)
    for name in FILES:
        for key in ("loss", "optimizer", "metrics", "loss_weights"):
            edited(
                source,
                target,
                lambda config, name=name, key=key: (
                    config["compile_config"].update({key: HOSTILE[name]()}) or config
                ),
            )
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                kc.load_ensemble([target]).evaluate(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    for junk in (b"", b"{", b"[]", b'{"compile_config": 3}', b"\xff"):
        with zipfile.ZipFile(target, "w") as file:
            file.writestr("config.json", junk)
        with pytest.raises((ValueError, TypeError, KeyError, OSError)):
            kc.load_ensemble([target])


KEY = "ReduceLROnPlateau:loss:0"
ENTRIES = [
    {"best": {}},
    {"best": "x" * 1_000_000},
    {"wait": None},
    {"wait": "os.system"},
    {"cooldown_counter": [1]},
    {"direction": "sideways"},
    {"direction": [[]]},
    {"cycle": {"__array__": "../../../x"}},
    {"scales": "os.system"},
    {"scales": [{}]},
    {"scales": 7},
    {"scales": [-1.0]},
]
STATES = [
    b"",
    b"not json",
    b"\xff\xfe\x00",
    b"null",
    b"[1, 2]",
    b'{"a": 3}',
    b'{"a": {"__array__": {"b": []}}}',
    b"9" * 10_000,
    b"[" * 100_000,
    *(json.dumps({KEY: entry}).encode() for entry in ENTRIES),
]


def test_hostile_states_of_callbacks(flag, tmp_path):
    """What the callbacks remembered is JSON in the weights, and junk there is left out."""
    x, y = np.ones((8, 2)), np.ones((8, 1))
    model = small_model(kc.schedules.Triangular(0.01, 0.02, 2))
    callback = kc.callbacks.ReduceLROnPlateau(monitor="loss", patience=1)
    model.fit(x, y, verbose=0, callbacks=[callback])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = kc.callbacks.ReduceLROnPlateau(monitor="loss", patience=1)
    state = loaded.optimizer.callback_state
    store = {}
    state.save_own_variables(store)
    assert json.loads(store["state"].tobytes())[KEY]["wait"] == 0
    again.set_model(loaded)
    for text in STATES:
        again.wait = 5
        with drawn.watched(), pytest.warns(UserWarning, match="cannot be read, and is left out"):
            state.load_own_variables({"state": np.frombuffer(text, "uint8")})
        assert (again.wait, again.best) == (0, None)
    loaded.fit(x, y, verbose=0, callbacks=[again])
    edited(
        tmp_path / "model.keras",
        tmp_path / "hostile.keras",
        lambda config: config,
        lambda weights: with_state(weights, b"junk", tmp_path / "weights.h5"),
    )
    with pytest.warns(UserWarning, match="cannot be read, and is left out"):
        loaded = keras.saving.load_model(tmp_path / "hostile.keras")
    loaded.fit(x, y, verbose=0, callbacks=[again])


def with_state(weights, state, path):
    path.write_bytes(weights)
    found = []
    with h5py.File(path, "r+") as file:
        file.visit(lambda name: found.append(name) if name.endswith("vars/state") else None)
        (name,) = found
        del file[name]
        file[name] = np.frombuffer(state, "uint8")
    return path.read_bytes()


def test_a_layerwise_optimizer_of_a_hostile_file(flag, tmp_path):
    """A pattern that would take for ever to fail is not matched while the file is loaded."""
    optimizer = kc.optimizers.layerwise(keras.optimizers.SGD(0.1), {".*kernel": 0.5})
    model = small_model(None, optimizer)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    source, target = tmp_path / "model.keras", tmp_path / "hostile.keras"
    model.save(source)
    text = zipfile.ZipFile(source).read("config.json").decode()
    assert ".*kernel" in text

    for pattern in ("(a|aa)+$", "(.*)*(.*)*(.*)*(.*)*b", "(((", "__import__('os')", "(.+)+x"):

        def edit(config, pattern=pattern):
            return json.loads(json.dumps(config).replace(".*kernel", pattern))

        edited(source, target, edit)
        with drawn.watched(), contextlib.suppress(ValueError, TypeError, re.error):
            keras.saving.load_model(target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{" * 5000,
        "[" * 100_000,
        '{"format": "keras_cyclic.RangeTestResult"}',
        "\x00",
        "9" * 5000,
    ],
)
def test_junk_for_a_range_test_result(text, flag, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(text)
    with drawn.watched(), pytest.raises(ValueError, match="`path`"):
        kc.RangeTestResult.load(path)


def test_a_range_test_result_with_other_contents(flag, tmp_path):
    path = tmp_path / "result.json"
    kc.RangeTestResult([0.1, 0.2], [1.0, 2.0], False).save(path)
    good = json.loads(path.read_text())
    junk = [None, "x", -1, 1e999, [], {}, ["x"], [[1]], [None], [{}], [1.0] * 3, 10**30, True]
    for key in good:
        for value in junk:
            path.write_text(json.dumps(good | {key: value}))
            try:
                result = kc.RangeTestResult.load(path)
            except ValueError as error:
                message = str(error)
            else:
                message = "`path`"
                assert len(result.learning_rates) == len(result.losses)
            assert "`path`" in message or "has version" in message
        path.write_text(json.dumps({name: good[name] for name in good if name != key}))
        if key != "version":
            with pytest.raises(ValueError, match="`path`"):
                kc.RangeTestResult.load(path)


def test_the_library_never_leaves_the_safe_mode():
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text()
        for forbidden in (
            "safe_mode=False",
            "enable_unsafe",
            "pickle",
            "marshal",
            "func_load",
            "eval(",
            "exec(",
        ):
            assert forbidden not in text, path


def keras_functions():
    """Every public function of Keras, as a config could name it."""
    found = set()
    for module in vars(keras).values():
        if not re.fullmatch(r"keras\.\w+(\.\w+)*", getattr(module, "__name__", "")):
            continue
        for name in dir(module):
            thing = getattr(module, name, None)
            if callable(thing) and not isinstance(thing, type):
                found.add((module.__name__.replace("keras._tf_keras.", ""), name))
    return sorted(found)


def test_no_function_of_keras_changes_anything(flag, tmp_path, monkeypatch):
    """A profile or a `scale_fn` is tried out on a tensor, and a file says which function it is."""
    monkeypatch.chdir(tmp_path)
    before = settings_of_keras()
    functions = keras_functions()
    assert len(functions) > 200
    for module, name in functions:
        for argument in ("profile", "scale_fn"):
            config = kc.schedules.Cyclical(0.1, 0.2, 10).get_config()
            with contextlib.suppress(ValueError, TypeError):
                kc.schedules.Cyclical.from_config(config | {argument: function(module, name)})
            assert settings_of_keras() == before, (module, name)
    assert os.listdir(tmp_path) == []


def settings_of_keras():
    config = keras.config
    return [
        config.floatx(),
        config.epsilon(),
        config.backend(),
        config.image_data_format(),
        config.dtype_policy().name,
        config.max_epochs(),
        config.max_steps_per_epoch(),
        config.is_interactive_logging_enabled(),
        config.is_traceback_filtering_enabled(),
        config.is_flash_attention_enabled(),
        keras.distribution.distribution(),
        keras.src.saving.serialization_lib.in_safe_mode(),
    ]
