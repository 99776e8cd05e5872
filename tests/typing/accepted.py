"""What a user may write, which a type checker must accept and infer useful types for."""

import pathlib
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from typing_extensions import assert_type

import keras_cyclic as kc


def smoothstep(z: NDArray[np.float32]) -> NDArray[np.float32]:
    return z * z * (3 - 2 * z)


def root(cycle: NDArray[np.float32]) -> NDArray[np.float32]:
    return cycle**-0.5


# As a decorator, which has no type in Keras, it is nothing that `--strict` lets pass.
for function in (smoothstep, root):
    keras.saving.register_keras_serializable(package="accepted")(function)


class SquareWave(kc.schedules.Wave):
    def __init__(self, base_lr: float, max_lr: float) -> None:
        self.base_lr = base_lr
        self.max_lr = max_lr

    @property
    def bounds(self) -> tuple[float, float]:
        return self.base_lr, self.max_lr


def versions() -> None:
    assert_type(kc.__version__, str)


def profiles() -> None:
    assert_type(kc.profiles.get("rex"), kc.profiles.Profile)
    kc.profiles.get(kc.profiles.Linear())
    kc.profiles.get(smoothstep, argument="shape")
    kc.profiles.Cosine()(np.linspace(0, 1, 5))
    kc.profiles.Exponential(4, normalize=False)
    kc.profiles.REX(np.float32(0.1))
    assert_type(kc.profiles.Polynomial(power=2).power, float)


def schedules() -> None:
    s = kc.schedules
    cyclical = s.Cyclical(0.001, 1, np.int64(20), 30, "cosine", root, scale_mode="cycle")
    s.Cyclical(base_lr=0, max_lr=0.1, step_size=20, profile=kc.profiles.REX(), scale_fn="halve")
    s.Triangular(0.001, np.float32(0.01), step_size=20)
    s.Triangular2(0.001, 0.01, 20, step_size_down=10)
    s.ExpRange(0.001, 0.01, 20, gamma=1)
    one_cycle = s.OneCycle(1, total_steps=100, div_factor=25, profile=("linear", smoothstep))
    s.OneCycle(0.1, 100, 0.3, 25.0, 1e4, "rex", three_phase=True)
    s.Decay(0.1, 0, 100, profile=smoothstep)
    s.LinearDecay(0.1, 100)
    s.CosineAnnealing(0.1, decay_steps=100, final_lr=0.001)
    s.PolynomialDecay(0.1, 100, power=3)
    s.REX(0.1, 100, beta=0.1)
    s.StepDecay(1, step_size=30)
    s.MultiStepDecay(0.1, [30, 80], gamma=0.5)
    s.MultiStepDecay(0.1, np.array([30, 80]))
    s.ExponentialDecay(0.1, 100, decay_rate=0.5)
    s.InverseSquareRootDecay(0.1, 100)
    s.CosineAnnealingWarmRestarts(0.1, 10, t_mul=2, m_mul=0.5, profile="rex")
    s.WarmupStableDecay(0.1, 10, 70, 20, decay_profile="cosine")
    s.Warmup(keras.optimizers.schedules.CosineDecay(0.1, 100), warmup_steps=10)
    sequence = s.Sequential([s.Constant(0.1), s.LinearDecay(0.1, 50)], boundaries=[10])
    s.Sequential((cyclical, one_cycle, sequence), (50, 100))
    s.Sampled(cyclical, every=30)

    assert_type(cyclical * 2, kc.schedules.Product)
    # Of `0.5 * cyclical` mypy believes that it is a float: the base class, Keras's, is Any to it.
    assert_type(cyclical * 0.5 * one_cycle, kc.schedules.Product)
    assert_type(cyclical.bounds, tuple[float, float])
    assert_type(one_cycle.total_steps, int)
    assert_type(s.OneCycle.from_config(one_cycle.get_config()), kc.schedules.OneCycle)
    rate: float = float(one_cycle(0))
    rates: list[float] = [float(rate) for rate in one_cycle(range(10))]
    one_cycle(np.arange(10))
    cycles = cyclical.cycles()
    assert cycles is not None
    assert_type(cycles.index(60), int)
    assert_type(cycles.start(1), int | None)
    assert rate == rates[0]
    assert SquareWave(0.1, 0.2).bounds == (0.1, 0.2)


def range_test(model: keras.Model, x: NDArray[np.float64], folder: pathlib.Path) -> None:
    result = kc.lr_range_test(model, x, x[:, 0], max_lr=1, steps=50, spacing="linear", verbose=0)
    assert_type(result, kc.RangeTestResult)
    result.save(folder / "result.json")
    assert_type(kc.RangeTestResult.load(str(folder / "result.json")), kc.RangeTestResult)
    result = kc.RangeTestResult(np.logspace(-6, 0, 100), list(range(100, 0, -1)), diverged=False)
    assert_type(result.losses, NDArray[np.float64])
    assert_type(result.smoothed_losses, NDArray[np.float64])
    assert_type(result.suggest(), float)
    result.suggest("valley")
    base_lr, max_lr = result.bounds()
    assert_type(base_lr, float)
    kc.schedules.Triangular(base_lr, max_lr, step_size=20)
    assert_type(result.plot(), Axes)


def callbacks(model: keras.Model, x: NDArray[np.float64], folder: pathlib.Path) -> None:
    c = kc.callbacks
    test = c.LRRangeTest(max_lr=1, steps=20, validation_data=(x, x[:, 0]))
    model.fit(x, x[:, 0], epochs=10, verbose=0, callbacks=[test])
    low, high = test.result.bounds() if test.result.diverged else (0.01, 0.1)
    schedule = kc.schedules.Triangular(low, high, step_size=4)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=0.01), "mse")
    monitor = c.LearningRateMonitor(per_step=True)
    diagnostics = c.LossDiagnostics(patience=5, schedule=schedule, verbose=0)
    snapshots = c.SnapshotEnsemble(folder / "{cycle}.keras", keep=2)
    callbacks: list[keras.callbacks.Callback] = [
        monitor,
        diagnostics,
        snapshots,
        c.CyclicalMomentum(0.85, max_momentum=0.95, schedule=schedule),
        c.HyperparameterSchedule("weight_decay", schedule),
        c.ReduceLROnPlateau("loss", factor=0.5, patience=2, mode="min", min_lr=0, verbose=0),
        c.AdaptiveBounds(monitor="loss", bound="both", min_delta=0),
        c.CycleEarlyStopping("loss", min_delta=0, patience=3, restore_best_weights=True),
    ]
    model.fit(x, x[:, 0], batch_size=4, epochs=4, verbose=0, callbacks=callbacks)
    assert_type(monitor.history, dict[str, NDArray[Any]])
    for finding in diagnostics.findings:
        assert_type(finding.message, str)
    assert_type(snapshots.filepaths, list[str])
    ensemble = kc.load_ensemble(snapshots.filepaths)
    kc.load_ensemble([pathlib.Path(path) for path in snapshots.filepaths], compile=False)
    ensemble.predict(x, verbose=0)


def training(model: keras.Model, x: NDArray[np.float64]) -> None:
    schedule = kc.schedules.OneCycle(0.1, 100)
    if hasattr(keras.optimizers, "MultiOptimizer"):
        multipliers = kc.optimizers.layerwise_decay(model, decay=1)
        assert_type(multipliers, dict[str, float])
        kc.optimizers.layerwise(keras.optimizers.SGD(schedule), multipliers)
        optimizer = kc.optimizers.layerwise(keras.optimizers.SGD(), {".*": 1}, default=0)
        assert len(optimizer.optimizers) == 2
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    history = kc.fit_one_cycle(
        model,
        x,
        x[:, 0],
        epochs=2,
        max_lr=np.float64(0.01),
        profile=("linear", kc.profiles.Cosine()),
        callbacks=[kc.callbacks.LossDiagnostics(verbose=0)],
        validation_data=(x, x[:, 0]),
        verbose=0,
        class_weight=None,
    )
    losses: list[float] = history.history["loss"]
    assert len(losses) == 2


def pictures() -> None:
    schedule = kc.schedules.OneCycle(0.1, 100)
    ax = kc.plot_schedule(schedule, 100, momentum=(0.85, 0.95), yscale="log")
    assert_type(ax, Axes)
    by_name = {"1cycle": schedule}
    kc.plot_schedule(by_name, 100, ax, steps_per_epoch=10)


def everything(folder: pathlib.Path) -> None:
    x = np.ones((32, 4))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    versions()
    profiles()
    schedules()
    range_test(model, x, folder)
    callbacks(model, x, folder)
    training(model, x)
    pictures()
