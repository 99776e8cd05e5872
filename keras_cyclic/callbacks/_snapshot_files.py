"""The files of snapshots: written whole, or nowhere, and removed."""

import contextlib
import os
import tempfile
import warnings

from keras import ops

from keras_cyclic._files import whole_file
from keras_cyclic.hyperparameters import real_optimizers_of


def write(model, path):
    """Saves a model.

    Args:
        model: A compiled model.
        path: Where the file is to be.

    Returns:
        None, or what the operating system said where nothing could be written.
    """
    try:
        with whole_file(path) as written:
            model.save(written)
    except (OSError, RuntimeError) as error:
        reason = _error_of_the_disk(error)
        if reason is None:
            raise
        return reason
    return None


def write_nowhere(model):
    """Saves a model where nothing is kept.

    The first save of a process makes variables. Where only one process has made them, the next
    save of all processes, such as a user's own, waits for ever for that one.

    Args:
        model: A compiled model.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(os.path.join(folder, "nowhere.keras"))


def remove(path):
    """Removes a file, or warns where that fails.

    Args:
        path: The path of the file.
    """
    try:
        os.remove(path)
    except OSError as error:
        warnings.warn(
            f"SnapshotEnsemble could not remove {path!r}, which `keep` is too small for: "
            f"{error.strerror}.",
            stacklevel=2,
        )


@contextlib.contextmanager
def averaged_weights(model):
    """Lends the model the averages that its optimizer keeps of its weights, if it does.

    Args:
        model: A compiled model.
    """
    averaging = [optimizer for optimizer in real_optimizers_of(model) if optimizer.use_ema]
    variables = [variable for each in averaging for variable in each._trainable_variables]
    values = [ops.convert_to_numpy(variable) for variable in variables]
    try:
        for optimizer in averaging:
            optimizer.finalize_variable_values(optimizer._trainable_variables)
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)


def _error_of_the_disk(error):
    """What the operating system said, if it is why saving failed, else None."""
    while error is not None and not isinstance(error, OSError):
        # Where the disk is full, h5py also fails to close the file, with a RuntimeError.
        error = error.__context__ if type(error) is RuntimeError else None
    if error is None or error.errno is None:
        return error
    return os.strerror(error.errno)
