"""Training on two devices under `tf.distribute.MirroredStrategy` is training on one."""

import keras
import pytest

from tests.devices.processes import assert_callbacks_acted, assert_same, run_trainings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="needs the TensorFlow backend"
    ),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_trainings(tmp_path_factory.mktemp("mirrored"), "tensorflow", ["mirrored"])


def test_two_devices_train_and_decide_as_one(outcomes):
    assert_callbacks_acted(outcomes["one"])
    assert len(outcomes["one"]["range_test"]["losses"]) == 40
    assert_same(outcomes["several"], outcomes["one"])


@pytest.mark.parametrize("how", ["several_to_one", "one_to_several"])
def test_goes_on_from_a_file_on_another_number_of_devices(outcomes, how):
    assert_same(outcomes["saved"][how], outcomes["saved"]["one_to_one"])
