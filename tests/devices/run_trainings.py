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
import pathlib
import runpy
import sys

import keras

LONGEST_SECONDS = 300
SCRIPT = str(pathlib.Path(__file__).parents[2] / "docs" / "several_machines.py")


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
    # Keras's own `fit` fails there with more `steps_per_execution`.
    _on_one_and_on_several(folder, strategy.scope, steps_per_execution=1)


def _virtual(folder):
    import jax

    assert jax.device_count() == 4
    _on_one_and_on_several(folder, keras.distribution.DataParallel().scope, steps_per_execution=2)


def _on_one_and_on_several(folder, scope, steps_per_execution):
    from tests.devices.trainings import Trainings

    one = contextlib.nullcontext
    options = {"steps_per_execution": steps_per_execution}
    _write(folder, "one", Trainings(_made(folder, "one"), **options).outcomes())
    several = Trainings(_made(folder, "several"), scope=scope, **options)
    # JAX spreads the data over devices by what is set during `fit`.
    with scope() if keras.backend.backend() == "jax" else one():
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
    sys.argv = [SCRIPT, address, count, number]
    os.chdir(_made(folder, f"script_{number}"))
    # It joins the processes, and what it sets up stays.
    script = runpy.run_path(SCRIPT, run_name="__main__")
    assert len(keras.distribution.list_devices()) == int(count)
    from tests.devices.trainings import Trainings

    trainings = Trainings(_made(folder, "shared"), _made(folder, f"process_{number}"))
    outcomes = trainings.outcomes()
    outcomes["script"] = {
        "history": script["history"].history,
        "weights": [weight.tolist() for weight in script["model"].get_weights()],
        "filepaths": script["snapshots"].filepaths,
    }
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
