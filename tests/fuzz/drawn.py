"""What the fuzz tests draw: arguments that may be good, and junk; and their watch."""

import contextlib
import fractions
import functools
import math
import os
import signal
import warnings

import keras
import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import keras_cyclic as kc

# How many examples a test draws: the suite takes few, a long run says how many it wants.
EXAMPLES = int(os.environ.get("KERAS_CYCLIC_FUZZ_EXAMPLES", "25"))
PACKAGE = "fuzz"


def examples(times=1):
    """Settings of a test that draws so many times the usual number of examples."""
    # To make a failing example smaller can take longer than all of the others together.
    phases = [Phase.explicit, Phase.generate]
    return settings(
        max_examples=max(1, int(EXAMPLES * times)),
        phases=phases,
        suppress_health_check=list(HealthCheck),  # They go by the clock, on a machine in use.
    )


@keras.saving.register_keras_serializable(package=PACKAGE)
def squared(z):
    return z * z


@keras.saving.register_keras_serializable(package=PACKAGE)
def falling_scale(x):
    return 1.0 / (1.0 + x)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TakenStep(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is not ours and takes one step at a time."""

    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {}


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


class NoNumber:
    """Equal to everything, and says yes to every question."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __bool__(self):
        raise TypeError("neither true nor false")


def nested(depth):
    value = 0.1
    for _ in range(depth):
        value = [value]
    return value


def cyclic_list():
    value = [1]
    value.append(value)
    return value


# Made anew each time: what is drawn must not remember who used it.
JUNK = [
    lambda: math.nan,
    lambda: -math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: -0.0,
    lambda: -1,
    lambda: -1e-300,
    lambda: 2**63,
    lambda: -(2**63) - 1,
    lambda: 10**400,
    lambda: 10**5000,
    lambda: -(10**5000),
    lambda: 1e308,
    lambda: 5e-324,
    lambda: True,
    lambda: False,
    lambda: None,
    lambda: "",
    lambda: "0.1",
    lambda: "linear",
    lambda: "no such name",
    lambda: "x" * 100_000,
    lambda: b"linear",
    lambda: bytearray(b"1"),
    lambda: 1j,
    lambda: fractions.Fraction(1, 3),
    list,
    dict,
    set,
    lambda: (0.1, 0.2),
    lambda: [0.1] * 50_000,
    lambda: list(range(50_000)),
    lambda: nested(500),
    cyclic_list,
    lambda: {"class_name": "Linear", "config": {"z": {}}},
    lambda: {1: {2: {3: [None]}}},
    lambda: range(3),
    lambda: iter([1, 2]),
    lambda: np.float32("nan"),
    lambda: np.float64("inf"),
    lambda: np.longdouble("1e4000"),
    lambda: np.float16(0.5),
    lambda: np.int64(-1),
    lambda: np.uint64(2**64 - 1),
    lambda: np.bool_(True),
    lambda: np.array(0.5),
    lambda: np.array([3]),
    lambda: np.array([[1, 2], [3, 4]]),
    lambda: np.array([None]),
    lambda: np.array([]),
    lambda: np.datetime64("2020-01-01"),
    lambda: tf.constant(0.5),
    lambda: tf.constant([1, 2]),
    lambda: tf.constant(b"text"),
    lambda: lambda z: z,
    lambda: print,
    lambda: os.getcwd,
    lambda: np.sin,
    lambda: keras.ops.sin,
    lambda: keras.activations.sigmoid,
    lambda: squared,
    lambda: functools.partial(squared),
    lambda: int,
    lambda: kc.schedules.Constant,
    lambda: kc.schedules,
    Unprintable,
    NoNumber,
    object,
    lambda: NotImplemented,
    lambda: ...,
]
# Keras gives objects random names and seeds, and so these are made once.
JUNK += [
    lambda thing=thing: thing
    for thing in (
        tf.Variable(0.5),
        keras.Variable(0.5),
        keras.KerasTensor((2,)),
        kc.schedules.Constant(0.1),
        kc.schedules.Triangular(0.1, 0.2, 3),
        keras.optimizers.schedules.CosineDecay(0.1, 10),
        keras.optimizers.SGD(0.1),
        keras.layers.Dense(1),
        kc.profiles.REX(),
        kc.profiles.Profile(),
    )
]
junk = st.sampled_from(JUNK).map(lambda make: make())
# What could come from a file: Keras prints the whole config in its errors, and goes through it.
config_junk = st.sampled_from(
    [make for make in JUNK if make not in (Unprintable, cyclic_list)]
).map(lambda make: make())

_LARGEST = float(np.finfo("float32").max)
rates = st.one_of(
    st.sampled_from([0.0, 0, 1, 0.1, 1e-7, 1e-38, 1e-45, 5e-324, 1e38, _LARGEST, np.float32(0.3)]),
    st.floats(0.0, 10.0),
    st.floats(0.0, _LARGEST),
)
lengths = st.one_of(
    st.integers(1, 40),
    st.sampled_from([1, 2.0, np.int32(7), 1000, 2**24 + 1, 2**31, 2**31 - 1, 2**53 - 1, 2**53]),
    st.integers(1, 2**53),
)
shares = st.one_of(
    st.sampled_from([0.5, 0.999, 1 - 2**-53, 1e-9, 5e-324]),
    st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
)
factors = shares | st.just(1) | st.just(1.0)
growths = st.sampled_from([1, 1.0, 1.01, 1.5, 2, 10.0, 1e6, 3e38]) | st.floats(1.0, 100.0)
counts = st.sampled_from([0, 1, 3.0, 10**9, 2**53, 2**62]) | st.integers(0, 100)
booleans = st.sampled_from([True, False, np.bool_(True)])
profile_objects = st.one_of(
    st.just(kc.profiles.Linear()),
    st.just(kc.profiles.Cosine()),
    st.builds(
        kc.profiles.Exponential,
        st.sampled_from([1e-6, 80.0]) | st.floats(1e-6, 80.0),
        st.booleans(),
    ),
    st.builds(kc.profiles.REX, st.sampled_from([1e-6, 1.0]) | st.floats(1e-6, 1.0)),
    st.builds(kc.profiles.Polynomial, st.sampled_from([1e-3, 1e3]) | st.floats(1e-3, 1e3)),
)
profiles = st.one_of(
    st.sampled_from(["linear", "cosine", "exponential", "rex", "polynomial"]),
    profile_objects,
    st.just(squared),
)
modes = st.sampled_from(["auto", "min", "max"])


def mostly(good):
    """Arguments that may be good, and now and then junk."""
    return st.integers(0, 11).flatmap(lambda chance: junk if chance == 0 else good)


class TooLong(Exception):
    """An example that does not come to an end."""


@contextlib.contextmanager
def watched(seconds=60):
    """Nothing in here may hang, or warn."""

    def stop(signum, frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)  # Keras's own.
            warnings.filterwarnings("ignore", "The cycle has")  # `fit_one_cycle`, as documented.
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def made(make, names, *args, **kwargs):
    """What `make` gives, or None where it refuses in the manner of the library.

    Args:
        make: A constructor or a function.
        names: The arguments of which an error has to name one.
        *args: What it is called with.
        **kwargs: What it is called with.
    """
    with watched():
        try:
            return make(*args, **kwargs)
        except (ValueError, TypeError) as error:
            message = str(error)
            assert any(f"`{name}" in message or f"'{name}" in message for name in names), message
            assert len(message) < 5000, f"{message[:1000]} ... of {len(message)} characters"
            return None
