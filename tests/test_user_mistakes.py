"""What a new user gets for the mistakes that are made most easily.

Each must name what was wrong and what to do. Bad values of single arguments are in
`tests/schedules/test_bad_input.py`, lengths that do not fit in `tests/test_training_ahead.py`.
"""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import BACKEND

S, C = kc.schedules, kc.callbacks
SGD = keras.optimizers.SGD
X, Y = np.ones((16, 4), "float32"), np.ones((16, 1), "float32")


def wave():
    return S.Triangular(0.01, 0.1, 4)


def unbuilt():
    model = keras.Sequential([keras.layers.Dense(1, name="only")])
    model.compile("sgd", "mse")
    return model


def uncompiled():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="only")])


def compiled(optimizer="sgd"):
    model = uncompiled()
    model.compile(optimizer, "mse")
    return model


def fit(optimizer, *callbacks):
    compiled(optimizer).fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=list(callbacks))


def endless():
    while True:
        yield X, Y


MISTAKES = {
    # The range test.
    "range test on an uncompiled model": (
        lambda: kc.lr_range_test(uncompiled(), X, Y),
        ValueError,
        ["compiled model", "Call `model.compile(optimizer, loss)` first"],
    ),
    "range test on an unbuilt model": (
        lambda: kc.lr_range_test(unbuilt(), X, Y),
        ValueError,
        ["`model.build(input_shape)`, or the model on a batch, first"],
    ),
    "range test with the arguments in another order": (
        lambda: kc.lr_range_test(X, Y, compiled()),
        TypeError,
        ["needs a compiled `keras.Model`", "of type ndarray"],
    ),
    "range test without data": (
        lambda: kc.lr_range_test(compiled(), None, verbose=0),
        ValueError,
        ["`x` must be the inputs to train on", "x=None"],
    ),
    "range test with the targets forgotten": (
        lambda: kc.lr_range_test(compiled(), X, verbose=0),
        ValueError,
        ["`y` must be the targets", "y=None", "the loss 'mse'"],
    ),
    "range test from high to low": (
        lambda: kc.lr_range_test(compiled(), X, Y, min_lr=1.0, max_lr=0.1),
        ValueError,
        ["`min_lr` must be below `max_lr`", "min_lr=1.0, max_lr=0.1"],
    ),
    # What goes where.
    "a schedule among the callbacks": (
        lambda: fit("sgd", S.OneCycle(0.1, 4)),
        TypeError,
        ["OneCycle is a schedule and no callback: pass it to the optimizer", "learning_rate="],
    ),
    "a callback as the learning rate": (
        lambda: SGD(learning_rate=C.CyclicalMomentum()),
        ValueError,
        ["`learning_rate` should be", "LearningRateSchedule", "CyclicalMomentum()"],
    ),
    "the class of a schedule as the learning rate": (
        lambda: fit(SGD(S.OneCycle)),
        TypeError,
        ["OneCycle.__init__() missing 2 required", "'max_lr' and 'total_steps'"],
    ),
    "the class of a callback among the callbacks": (
        lambda: fit("sgd", C.LearningRateMonitor),
        TypeError,
        ["LearningRateMonitor.set_model() missing 1 required"],
    ),
    "the name of a schedule as the learning rate": (
        lambda: SGD("onecycle"),
        ValueError,
        ["`learning_rate` should be float, or an instance of LearningRateSchedule", "onecycle"],
    ),
    "a number where a schedule belongs": (
        lambda: S.Warmup(0.1, 4),
        TypeError,
        ["`schedule` must be a", "`keras_cyclic.schedules.Constant(rate)`", "schedule=0.1"],
    ),
    "the class of a schedule in another one": (
        lambda: S.Warmup(S.OneCycle, 4),
        TypeError,
        ["`schedule` must be a", "of type type"],
    ),
    # Two that set one thing.
    "a schedule and Keras's ReduceLROnPlateau": (
        lambda: fit(SGD(wave()), keras.callbacks.ReduceLROnPlateau(patience=100)),
        ValueError,
        ["Use `keras_cyclic.callbacks.ReduceLROnPlateau`", "Triangular(base_lr=0.01"],
    ),
    "a schedule and Keras's LearningRateScheduler": (
        lambda: fit(SGD(wave()), keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr)),
        ValueError,
        ["`keras.callbacks.LearningRateScheduler` sets", "Leave it out", "with a float"],
    ),
    "a number assigned over a schedule": (
        lambda: setattr(SGD(wave()), "learning_rate", 0.01),
        TypeError,
        ["created with a `LearningRateSchedule`", "not settable"],
    ),
    "a schedule changed in place": (
        lambda: setattr(wave(), "max_lr", 0.2),
        AttributeError,
        ["Make a new Triangular with max_lr=0.2"],
    ),
    "two callbacks for the momentum": (
        lambda: fit(SGD(wave(), momentum=0.9), C.CyclicalMomentum(), C.CyclicalMomentum()),
        ValueError,
        ["`momentum` of SGD has two schedules", "Pass one callback"],
    ),
    "one optimizer for two models": (
        lambda: [compiled(optimizer).fit(X, Y, verbose=0) for optimizer in [SGD(wave())] * 2],
        ValueError,
        ["recreate a new optimizer instance"],
    ),
    # Arguments of other libraries and of other kinds.
    "an argument of PyTorch's CyclicLR": (
        lambda: S.Cyclical(0.1, 0.2, 4, mode="triangular2"),
        TypeError,
        ["Cyclical.__init__()", "unexpected keyword argument 'mode'"],
    ),
    "an argument of PyTorch's warm restarts": (
        lambda: S.CosineAnnealingWarmRestarts(0.1, T_0=4),
        TypeError,
        ["CosineAnnealingWarmRestarts.__init__()", "unexpected keyword argument 'T_0'"],
    ),
    "the bounds swapped": (
        lambda: S.Triangular(0.1, 0.01, 4),
        ValueError,
        ["`base_lr` must not be above `max_lr`", "base_lr=0.1, max_lr=0.01"],
    ),
    "the optimizer as first argument, as in PyTorch": (
        lambda: S.OneCycle(SGD(0.1), 4),
        TypeError,
        ["`max_lr` must be a finite learning rate", "of type SGD"],
    ),
    "percents for a share": (
        lambda: S.OneCycle(0.1, 100, pct_start=30),
        ValueError,
        ["`pct_start` must be a share between 0 and 1", "pct_start=30"],
    ),
    "milestones out of order": (
        lambda: S.MultiStepDecay(0.1, [30, 10]),
        ValueError,
        ["`milestones` must be steps in strictly increasing order", "[30, 10]"],
    ),
    "a factor that divides": (
        lambda: S.StepDecay(0.1, 30, gamma=10),
        ValueError,
        ["`gamma` must be a factor above 0 and at most 1", "gamma=10"],
    ),
    "a lambda as profile": (
        lambda: S.Cyclical(0.1, 0.2, 4, profile=lambda z: z),
        ValueError,
        ["`profile`", "Define it with `def`", "register_keras_serializable"],
    ),
    "a share of an epoch as the step": (
        lambda: S.OneCycle(0.1, 4)(0.5),
        TypeError,
        ["`step` must be an integer", "step=0.5"],
    ),
    # Momentum.
    "momentum that was not switched on": (
        lambda: fit(SGD(wave()), C.CyclicalMomentum()),
        ValueError,
        ["built with momentum=0", "build it with a positive one"],
    ),
    "momentum of an optimizer without": (
        lambda: fit(keras.optimizers.Adagrad(wave()), C.CyclicalMomentum()),
        ValueError,
        ["Adagrad has no momentum to cycle", "SGD(momentum=0.9) or Adam"],
    ),
    "cyclical momentum at a constant rate": (
        lambda: fit(SGD(0.1, momentum=0.9), C.CyclicalMomentum()),
        ValueError,
        ["no wave that the momentum could follow", "CyclicalMomentum(schedule=...)"],
    ),
    "the learning rate as a hyperparameter": (
        lambda: fit("sgd", C.HyperparameterSchedule("learning_rate", wave())),
        ValueError,
        ["build the optimizer with `learning_rate=schedule`"],
    ),
    "a number as the schedule of a hyperparameter": (
        lambda: C.HyperparameterSchedule("momentum", 0.9),
        TypeError,
        ["`schedule` must be", "schedule=0.9"],
    ),
    # Cycles that are none.
    "adaptive bounds at a constant rate": (
        lambda: fit("sgd", C.AdaptiveBounds()),
        ValueError,
        ["AdaptiveBounds waits for the ends of cycles", "Train with a schedule of"],
    ),
    "early stopping by cycles on a decay": (
        lambda: fit(SGD(S.LinearDecay(0.1, 8)), C.CycleEarlyStopping()),
        ValueError,
        ["CycleEarlyStopping waits for the ends of cycles", "LinearDecay(initial_lr=0.1"],
    ),
    "snapshots at a constant rate": (
        lambda: fit("sgd", C.SnapshotEnsemble("{cycle}.keras")),
        ValueError,
        ["SnapshotEnsemble waits for the ends of cycles"],
    ),
    "snapshots that overwrite each other": (
        lambda: C.SnapshotEnsemble("snapshot.keras"),
        ValueError,
        ["`filepath` must be", "contains {cycle}", "'snapshot.keras'"],
    ),
    "an ensemble of nothing": (
        lambda: kc.load_ensemble([]),
        ValueError,
        ["`filepaths` must be a list", "one at least"],
    ),
    "an ensemble of a file that is not there": (
        lambda: kc.load_ensemble(["nowhere.keras"]),
        FileNotFoundError,
        ["There is no file 'nowhere.keras'"],
    ),
    # The functions of one line.
    "fit_one_cycle on an uncompiled model": (
        lambda: kc.fit_one_cycle(uncompiled(), X, Y, epochs=2),
        ValueError,
        ["must be compiled", "`model.compile(optimizer, loss)` first"],
    ),
    "fit_one_cycle on endless data": (
        lambda: kc.fit_one_cycle(compiled(), endless(), epochs=2),
        ValueError,
        ["`steps_per_epoch` must be given", "x of type generator"],
    ),
    "layer-wise rates of layers that are not there": (
        lambda: fit(kc.optimizers.layerwise(SGD(0.1), {"backbone/.*": 0.1})),
        ValueError,
        ["None is matched by: 'backbone/.*'", "The paths are:", "only/kernel"],
    ),
    "layer-wise decay of an unbuilt model": (
        lambda: kc.optimizers.layerwise_decay(unbuilt()),
        ValueError,
        ["must be built", "give it a `keras.Input` or call it on a batch"],
    ),
    "a picture without a schedule": (
        lambda: kc.plot_schedule(0.1, 100),
        TypeError,
        ["`schedule_or_dict` must be", "=0.1 of type float"],
    ),
}
MARKS = {
    "one optimizer for two models": pytest.mark.skipif(
        BACKEND == "jax", reason="Keras on JAX does not see that they are two"
    ),
    "layer-wise rates of layers that are not there": pytest.mark.skipif(
        not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with Keras 3.15"
    ),
}


@pytest.mark.parametrize(
    "mistake", [pytest.param(each, marks=MARKS.get(each, ())) for each in MISTAKES]
)
def test_mistake(mistake):
    make, error, expected = MISTAKES[mistake]
    with pytest.raises(error) as raised:
        make()
    for words in expected:
        assert words in str(raised.value)


def test_monitoring_validation_without_validation_data():
    callback = C.AdaptiveBounds()
    with pytest.warns(UserWarning, match="monitors `val_loss`, which is not logged") as caught:
        fit(SGD(S.Triangular(0.01, 0.1, 1)), callback)
    message = next(str(each.message) for each in caught if "val_loss" in str(each.message))
    assert "Logged are: loss" in message
    assert "Give `fit` validation data, or `monitor` what is logged" in message


@pytest.mark.parametrize("kind", ["CycleEarlyStopping", "AdaptiveBounds", "SnapshotEnsemble"])
def test_a_training_in_which_no_cycle_ends(kind, tmp_path):
    make = {
        "CycleEarlyStopping": lambda: C.CycleEarlyStopping(monitor="loss"),
        "AdaptiveBounds": lambda: C.AdaptiveBounds(monitor="loss"),
        "SnapshotEnsemble": lambda: C.SnapshotEnsemble(tmp_path / "{cycle}.keras"),
    }[kind]
    with pytest.warns(UserWarning, match=f"{kind} waits for the end of a cycle") as caught:
        fit(SGD(S.Triangular(0.01, 0.1, 40)), make())
    (message,) = [str(each.message) for each in caught if "waits" in str(each.message)]
    assert "from step 0 to step 4, and the cycle ends at step 80" in message
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*waits for the end of a cycle")
        fit(SGD(S.Triangular(0.01, 0.1, 2)), make())


def test_one_callback_for_two_models_works():
    callback = C.CyclicalMomentum()
    for _ in range(2):
        fit(SGD(wave(), momentum=0.9), callback)


def test_a_class_derived_from_keras_reduce_lr_on_plateau_is_left_alone():
    class OwnWay(keras.callbacks.ReduceLROnPlateau):
        pass

    fit(SGD(wave()), OwnWay(monitor="loss", patience=100))


def test_keras_reduce_lr_on_plateau_beside_a_plain_rate_is_left_alone():
    fit(SGD(0.1), keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=100))


def test_epochs_where_steps_belong():
    with pytest.warns(UserWarning, match="OneCycle") as caught:
        fit(SGD(S.OneCycle(0.1, total_steps=2)))
    (message,) = [str(each.message) for each in caught if "OneCycle" in str(each.message)]
    assert "total_steps=2) ends at step 2, but this training of 2 epochs of 2 steps" in message
    assert "Lengths are in optimizer steps, epochs times batches per epoch" in message
    assert "make it total_steps=4" in message


def test_a_picture_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"keras_cyclic\[plot\]"):
        kc.plot_schedule(wave(), 8)


@pytest.mark.slow
def test_load_model_before_the_import(tmp_path):
    path = tmp_path / "model.keras"
    compiled(SGD(wave())).save(path)
    script = f"import keras; keras.saving.load_model({str(path)!r})"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode != 0
    assert "Could not locate class 'Triangular'" in process.stderr
    assert "keras_cyclic" in process.stderr
