"""The loss on validation data, measured while training goes on."""

import keras

from keras_cyclic import _arguments
from keras_cyclic._torch_modules import in_mode


class ValidationLoss:
    """The loss on data that training does not see.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset` or a `keras.utils.PyDataset`.
        every: Steps from one measurement to the next.
        batch_size: As in `evaluate`.
        steps: As in `evaluate`.
        monitor: The name of the loss in what `evaluate` returns.
    """

    def __init__(self, data, every, batch_size, steps, monitor):
        self.every = _arguments.length("validation_every", every)
        self._monitor = monitor
        self._batch_size = batch_size
        self._steps = steps
        self._is_repeatable = _is_dataset(data) or isinstance(data, (tuple, list))
        self._arrays = (data, None, None)
        if isinstance(data, (tuple, list)):
            self._arrays = (tuple(data) + (None, None))[:3]
        self._has_labels = _has_labels(data)

    def check(self, model):
        """Raises if the data cannot give the model's loss again and again."""
        if not self._is_repeatable:
            raise ValueError(
                "Argument `validation_data` must be `(x, y)`, a `tf.data.Dataset` or a "
                "`keras.utils.PyDataset`, which can be read again for each measurement. "
                f"Received: validation_data of type {type(self._arrays[0]).__name__}"
            )
        if model.loss is not None and not self._has_labels:
            raise ValueError(
                "Argument `validation_data` must have labels, as `(x, y)`: without them there is "
                "no loss. Received: validation_data without labels"
            )

    def measure(self, model):
        """The loss now."""
        x, y, sample_weight = self._arrays
        # Which leaves PyTorch's own layers in that mode.
        with in_mode(model, training=False):
            logs = model.evaluate(
                x,
                y,
                sample_weight=sample_weight,
                batch_size=self._batch_size,
                steps=self._steps,
                verbose=0,
                return_dict=True,
            )
        if self._monitor not in logs:
            raise ValueError(
                f"The range test records the {self._monitor!r} that `evaluate` returns, and it "
                f"returns none. Received: evaluate returned {list(logs)}"
            )
        return float(logs[self._monitor])


def _is_dataset(data):
    return isinstance(data, keras.utils.PyDataset) or hasattr(data, "element_spec")


def _has_labels(data):
    """Whether batches have a second part; a dictionary is all inputs."""
    if hasattr(data, "element_spec"):
        data = data.element_spec
    elif isinstance(data, keras.utils.PyDataset):
        data = data[0]
    return isinstance(data, (tuple, list)) and len(data) > 1 and data[1] is not None
