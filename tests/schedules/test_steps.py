"""What a schedule can be called with, and what it answers in."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic.schedules.delayed import Delayed
from tests.backends import BACKEND, STEP_DTYPE, step_tensor, tensorflow_only
from tests.schedules.policies import POLICIES

schedule = kc.schedules.Triangular(0.0, 1.0, 4)


def a_variable_of_tensorflow():
    import tensorflow as tf

    return tf.Variable(5, dtype=tf.int64)


@pytest.mark.parametrize(
    "step",
    [
        5,
        np.int32(5),
        np.uint8(5),
        np.array(5),
        step_tensor(5),
        keras.ops.convert_to_tensor(5, dtype="uint8"),
        keras.ops.convert_to_tensor(5, dtype="int16"),
        keras.Variable(5, dtype="int32", trainable=False),
        keras.Variable(5, dtype=STEP_DTYPE, trainable=False),
        keras.ops.convert_to_tensor(5, dtype="int32"),
        *([a_variable_of_tensorflow()] if BACKEND == "tensorflow" else []),
    ],
)
def test_any_integer_is_a_step(step):
    rate = schedule(step)
    assert keras.ops.is_tensor(rate)
    assert rate.shape == ()
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert float(rate) == 0.75


def test_a_small_dtype_does_not_limit_the_cycle():
    long = kc.schedules.Triangular(0.0, 1.0, 1000)
    assert float(long(keras.ops.convert_to_tensor(250, dtype="uint8"))) == 0.25
    assert float(long(np.int8(100))) == np.float32(0.1)
    # An unsigned step before the delay must not wrap around.
    assert float(Delayed(long, 10)(keras.ops.convert_to_tensor(5, dtype="uint8"))) == 0.0


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_answer_has_the_shape_of_the_steps(policy, shape):
    steps = np.arange(np.prod(shape)).reshape(shape)
    rates = policy.schedule(steps)
    assert rates.shape == shape
    one_by_one = [float(policy.schedule(int(step))) for step in steps.ravel()]
    # JAX may round the computation of an array otherwise than that of a scalar.
    atol = 1e-7 * policy.amplitude if BACKEND == "jax" else 1e-9
    np.testing.assert_allclose(np.ravel(rates), one_by_one, rtol=1e-6, atol=atol)


@tensorflow_only("graphs without shapes")
def test_steps_of_a_shape_not_known_in_the_graph():
    import tensorflow as tf

    for policy in POLICIES:
        unknown = tf.function(
            policy.schedule, input_signature=[tf.TensorSpec([None, None], tf.int64)]
        )
        steps = np.arange(12).reshape(3, 4)
        np.testing.assert_allclose(
            unknown(tf.constant(steps)), policy.schedule(steps), rtol=2e-6, atol=1e-7
        )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_hundred_thousand_steps_in_one_call(policy):
    rates = np.asarray(policy.schedule(np.arange(100_000)))
    assert rates.shape == (100_000,)
    assert np.isfinite(rates).all()
    for step in (0, 33_333, 99_999):
        assert rates[step] == pytest.approx(float(policy.oracle(step)), rel=2e-6, abs=1e-7)


def test_no_steps_give_no_rates():
    assert schedule([]).shape == (0,)


@pytest.mark.parametrize(
    "step", [1.0, np.float32(3), keras.ops.convert_to_tensor(1.0), True, None, "1", [1.5]]
)
def test_a_step_that_is_no_integer_is_refused(step):
    with pytest.raises((TypeError, ValueError)):
        schedule(step)


def test_the_error_says_why_a_float_is_no_step():
    with pytest.raises(TypeError, match=r"`step` must be an integer.*Received: step=1\.5"):
        schedule(1.5)
    with pytest.raises(TypeError, match=r"`step` must be an integer.*dtype float32"):
        schedule(keras.ops.convert_to_tensor(1.5))


def test_a_negative_step_is_refused():
    largest = np.iinfo(STEP_DTYPE).max
    with pytest.raises(ValueError, match=f"`step` must be from 0 to {largest} on the {BACKEND}"):
        schedule(-1)
    with pytest.raises(ValueError, match=r"`step` must be from 0"):
        schedule(np.array([5, -1]))
    with pytest.raises(ValueError, match=r"`step` must be from 0"):
        schedule(np.array([5, 2**64 - 1], "uint64"))


@pytest.mark.skipif(BACKEND == "tensorflow", reason="there, steps are counted in int64")
def test_a_step_that_the_backend_cannot_count_is_refused():
    with pytest.raises(ValueError, match=r"`step` must be from 0 to 2147483647.*2147483648"):
        schedule(2**31)
