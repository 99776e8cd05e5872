"""One training in several processes, as `keras.distribution` spreads it over machines on JAX.

All processes run the same program at the same time, callbacks included. What has an effect outside
of them, such as writing a file, is for one of them to do.
"""

import keras
import numpy as np


def in_first_process(action, elsewhere):
    """Calls a function in one process of a training, and another one in the other processes.

    They go on when the first one is done.

    Args:
        action: A function without arguments.
        elsewhere: What is called in the other processes.

    Raises:
        RuntimeError: In the other processes, if `action` raised an error in its own.
    """
    distribution = keras.distribution.distribution()
    if not _share_a_training(distribution):
        action()
        return
    error = None
    # Variables that are spread over all devices are made by all processes or by none: saving a
    # model makes some, and would wait for ever for a process that has failed.
    keras.distribution.set_distribution(None)
    try:
        (action if _is_first() else elsewhere)()
    except Exception as raised:
        error = raised
    finally:
        keras.distribution.set_distribution(distribution)
    first_is_done = of_first_process([error is None])[0]
    if error is not None:
        raise error
    if not first_is_done:
        raise RuntimeError("The first process of this training has raised an error, and says why.")


def of_first_process(numbers):
    """What the first process of a training passes to this function, in all of its processes.

    Args:
        numbers: A list of integers or booleans, of the same length in each process.
    """
    if not numbers or not _share_a_training(keras.distribution.distribution()):
        return numbers
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(np.array(numbers, "int32")).tolist()


def _share_a_training(distribution):
    """Whether the processes of a cluster train one model, and not one each."""
    if keras.backend.backend() != "jax" or distribution is None:
        return False
    import jax

    devices = distribution.device_mesh.backend_mesh.devices.flat
    here = {device.process_index for device in devices}
    return len(here) > 1 and len(here) == jax.process_count()


def _is_first():
    import jax

    return jax.process_index() == 0
