"""One training in several processes, as `keras.distribution` spreads it over machines on JAX.

All processes run the same program at the same time, callbacks included. What has an effect outside
of them, such as writing a file, is for one of them to do.
"""

import keras
import numpy as np


def in_first_process(action):
    """Calls a function in one process of a training, while the others wait for it.

    Args:
        action: A function without arguments.

    Raises:
        RuntimeError: In the other processes, if the function raised an error in its own.
    """
    if not _share_a_training():
        action()
        return
    error = None
    if _is_first():
        try:
            action()
        except Exception as raised:
            error = raised
    # The others would wait for ever for a process that has left.
    if of_first_process([error is None])[0]:
        return
    raise error or RuntimeError("The first process of this training failed, and says why.")


def of_first_process(numbers):
    """What the first process of a training passes to this function, in all of its processes.

    Args:
        numbers: A list of integers or booleans, of the same length in each process.
    """
    if not numbers or not _share_a_training():
        return numbers
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(np.array(numbers, "int32")).tolist()


def _share_a_training():
    """Whether the processes of a cluster train one model, and not one each."""
    distribution = keras.distribution.distribution()
    if keras.backend.backend() != "jax" or distribution is None:
        return False
    import jax

    devices = distribution.device_mesh.backend_mesh.devices.flat
    here = {device.process_index for device in devices}
    return len(here) > 1 and len(here) == jax.process_count()


def _is_first():
    import jax

    return jax.process_index() == 0
