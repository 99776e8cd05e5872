"""The clock by itself: moves between any two steps, cycles longer than a step can count."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic.schedules.clock import Cycles, GrowingCycles, Move
from tests.backends import countable, step_tensor


@pytest.mark.parametrize("whole", [1.0, 1.75, 0.3])
@pytest.mark.parametrize("ends", [(0, 10), (1, 5), (2.5, 10), (3, 7.25), (2.5, 7.25)])
def test_a_move_between_any_two_steps(ends, whole):
    start, end = ends
    steps = np.arange(int(np.ceil(start)), int(end) + 1)
    done, left = (
        np.asarray(share(keras.ops.convert_to_tensor(steps), whole))
        for share in (Move(start, end).done, Move(start, end).left)
    )
    np.testing.assert_allclose(done, whole * (steps - start) / (end - start), rtol=1e-6)
    np.testing.assert_allclose(left, whole * (end - steps) / (end - start), rtol=1e-6)


def test_a_move_that_takes_no_time():
    move = Move(3, 3)
    assert float(move.done(keras.ops.convert_to_tensor(np.array(3)))) == 0.0
    assert float(move.left(keras.ops.convert_to_tensor(np.array(3)))) == 0.0


@pytest.mark.parametrize("length", [2**31, 2**40])
def test_a_cycle_longer_than_the_dtype_of_the_step(length):
    """As on JAX and PyTorch, where a step is an int32."""
    steps = keras.ops.convert_to_tensor(np.array([0, 5, 2**31 - 1], "int32"))
    assert np.asarray(Cycles(length).index(steps)).tolist() == [0, 0, 0]
    assert np.asarray(Cycles(length).offset(steps)).tolist() == [0, 5, 2**31 - 1]
    shares = np.asarray(Cycles(length).move(steps, 0)[0].done(steps))
    np.testing.assert_allclose(shares, np.array([0, 5, 2**31 - 1]) / length, rtol=1e-6)


def test_a_cycle_as_long_as_the_dtype_can_count():
    steps = keras.ops.convert_to_tensor(np.array([2**31 - 2, 2**31 - 1], "int32"))
    assert np.asarray(Cycles(2**31 - 1).index(steps)).tolist() == [0, 1]
    assert np.asarray(Cycles(2**31 - 1).offset(steps)).tolist() == [2**31 - 2, 0]


def test_growing_cycles_beyond_the_dtype_of_the_step():
    clock = GrowingCycles(2**30, 4.0)  # 2**30, then 2**32 steps long
    steps = np.array([2**30 - 1, 2**30, 2**31 - 1], "int32")
    tensor = keras.ops.convert_to_tensor(steps)
    index = clock.index(tensor)
    assert np.asarray(index).tolist() == [0, 1, 1]
    move, step = clock.move(tensor, index)
    expected = [(2**30 - 1) / 2**30, 0.0, (2**30 - 1) / 2**32]
    np.testing.assert_allclose(np.asarray(move.done(step)), expected, rtol=1e-6)


def test_no_more_than_8192_restarts():
    assert len(GrowingCycles(1, 1.004).restarts) < 8192
    with pytest.raises(ValueError, match=r"`t_mul`.*8192 restarts"):
        GrowingCycles(1, 1.0035)  # These would be 8,900.


def test_callbacks_and_compiled_steps_count_the_same_cycles():
    for growth in (1.5, 2.0, 3.0):
        clock = GrowingCycles(5, growth)
        steps = countable([0, 4, 5, 1000, 2**31 - 1, 2**31, 2**53 - 1, 2**53])
        compiled = np.asarray(clock.index(step_tensor(steps)))
        assert compiled.tolist() == [clock.starts().index(int(step)) for step in steps]
        assert clock.starts().start(int(compiled[-1])) <= 2**53


def test_a_plateau_beyond_the_dtype_of_the_step():
    schedule = kc.schedules.WarmupStableDecay(1e9, 28, 2**53, 28, decay_profile="rex")
    steps = keras.ops.convert_to_tensor(np.array([14, 28, 1000, 2**31 - 1]), "int32")
    rates = np.asarray(schedule.learning_rate(steps))
    np.testing.assert_allclose(rates, [5e8, 1e9, 1e9, 1e9], rtol=1e-6)
