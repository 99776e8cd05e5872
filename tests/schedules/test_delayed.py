import keras
import numpy as np
import pytest

import keras_cyclic as kc
from keras_cyclic.schedules.delayed import Delayed
from tests.backends import LARGEST_STEP
from tests.oracles import exact


def test_a_delayed_wave_is_the_wave_from_its_own_step_0():
    late = min(2**40, LARGEST_STEP - 20)
    wave = kc.schedules.OneCycle(0.1, 12, three_phase=True)
    schedule = Delayed(wave, late)
    schedule = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    steps = np.arange(14)
    expected = [float(exact.one_cycle(int(step), 0.1, 12, three_phase=True)) for step in steps]
    np.testing.assert_allclose(schedule(late + steps), expected, rtol=1e-5)
    np.testing.assert_allclose(schedule(np.array([0, late - 1])), [0.004, 0.004], rtol=1e-6)
    np.testing.assert_array_equal(schedule.height(late + steps), wave.height(steps))
    assert schedule.bounds == wave.bounds


def test_only_a_wave_and_a_whole_delay():
    with pytest.raises(TypeError, match=r"`schedule` must be .* two bounds.*Received: schedule"):
        Delayed(kc.schedules.Constant(0.1), 10)
    with pytest.raises(ValueError, match="`delay` must be a positive whole number"):
        Delayed(kc.schedules.OneCycle(0.1, 12), 0)
