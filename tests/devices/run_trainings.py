"""Runs the trainings of `tests.devices.trainings` in this process, on one device and on several.

    python -m tests.devices.run_trainings mirrored FOLDER
    python -m tests.devices.run_trainings virtual FOLDER
    python -m tests.devices.run_trainings processes FOLDER ADDRESS COUNT ID

The first one is TensorFlow on two logical devices, the second one JAX on all devices that it has,
the third one JAX as one of several processes. What came out is written to JSON files in FOLDER.
"""

import contextlib
import faulthandler
import json
import os
import sys

import keras

LONGEST_SECONDS = 240


def main(kind, folder, *cluster):
    # Also where nobody is left who would end this process.
    faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
    {"mirrored": _mirrored, "virtual": _virtual, "processes": _processes}[kind](folder, *cluster)


def _mirrored(folder):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    _on_one_and_on_several(folder, strategy.scope)


def _virtual(folder):
    import jax

    assert jax.device_count() == 4
    _on_one_and_on_several(folder, lambda: keras.distribution.DataParallel().scope())


def _on_one_and_on_several(folder, scope):
    from tests.devices.trainings import Trainings

    # A model is spread over devices when it is built, and its data by what is set during `fit`.
    is_global = keras.backend.backend() == "jax"
    one = contextlib.nullcontext
    _write(folder, "one", Trainings(_made(folder, "one")).outcomes())
    with scope() if is_global else one():
        several = Trainings(_made(folder, "several"), scope=one if is_global else scope)
        _write(folder, "several", several.outcomes())
    trainings = Trainings(_made(folder, "saved"))
    _write(
        folder,
        "saved",
        {
            "one_to_one": trainings.saved_and_loaded(one, one),
            "several_to_one": trainings.saved_and_loaded(scope, one),
            "one_to_several": trainings.saved_and_loaded(one, scope),
        },
    )


def _processes(folder, address, count, number):
    keras.distribution.initialize(address, int(count), int(number))
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    assert len(keras.distribution.list_devices()) == int(count)
    from tests.devices.trainings import Trainings

    outcomes = Trainings(_made(folder, "shared"), _made(folder, f"process_{number}")).outcomes()
    _write(folder, f"process_{number}", outcomes)


def _made(*parts):
    path = os.path.join(*parts)
    os.makedirs(path, exist_ok=True)
    return path


def _write(folder, name, outcomes):
    with open(os.path.join(folder, f"{name}.json"), "w") as file:
        json.dump(outcomes, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
