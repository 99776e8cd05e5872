"""The learning-rate range test as one function."""

import itertools
import warnings
from typing import Any, Literal

import keras

from keras_cyclic._torch_modules import TorchModules
from keras_cyclic._training_state import Attributes, RandomState, UnbuiltParts
from keras_cyclic._types import Integer, Real
from keras_cyclic.callbacks.range_test import LRRangeTest, check_model
from keras_cyclic.range_test_result import RangeTestResult


def lr_range_test(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    min_lr: Real = 1e-7,
    max_lr: Real = 10.0,
    steps: Integer = 100,
    spacing: Literal["exponential", "linear"] = "exponential",
    smoothing: Real = 0.9,
    stop_factor: Real = 4.0,
    restore: bool = True,
    batch_size: int | None = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    shuffle: bool = True,
    validation_every: Integer = 1,
    validation_batch_size: int | None = None,
    validation_steps: int | None = None,
    monitor: str = "loss",
    verbose: Literal["auto"] | int = "auto",
) -> RangeTestResult:
    """Tests a range of learning rates on a model and its data, and leaves the model as it was.

    Trains for `steps` batches at most, at rates from `min_lr` to `max_lr`, round the data as often
    as that takes, and records the loss of each: see `keras_cyclic.callbacks.LRRangeTest`, which
    it runs inside `model.fit`. A Python generator can be read only once: of it, at most
    `steps` batches are read, and kept until the end of the test to go round them.

    Args:
        model: A compiled and built `keras.Model`.
        x: The inputs, anything that `fit` takes.
        y: The targets, as in `fit`. Defaults to `None`.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset` or a
            `keras.utils.PyDataset`. If given, the loss on it is recorded in place of the batch's.
            Defaults to `None`.
        min_lr: The learning rate of the first step. Defaults to `1e-7`.
        max_lr: The learning rate of the last step. Defaults to `10.0`.
        steps: The number of steps, at least 10. Defaults to `100`.
        spacing: `"exponential"` or `"linear"`. Defaults to `"exponential"`.
        smoothing: The weight of the past in the running average that stops the test. Defaults to
            `0.9`.
        stop_factor: How many times its lowest value the running average may reach. Defaults to
            `4.0`.
        restore: Whether to put the model back as it was. Defaults to `True`.
        batch_size: As in `fit`. Defaults to `None`.
        sample_weight: As in `fit`. Defaults to `None`.
        class_weight: As in `fit`. Defaults to `None`.
        shuffle: As in `fit`. Defaults to `True`.
        validation_every: Steps from one validation to the next; only these are recorded.
            Defaults to `1`.
        validation_batch_size: As in `fit`. Defaults to `None`.
        validation_steps: As in `fit`. Defaults to `None`.
        monitor: The name of the loss in what the model's `train_step` returns. Defaults to
            `"loss"`.
        verbose: `"auto"` or 1 for a progress bar, 0 for silence, 2 for one line at the end.
            Defaults to `"auto"`.

    Returns:
        A `RangeTestResult`.

    Raises:
        ValueError: If `min_lr` is not below `max_lr`, there are fewer than 10 steps,
            `stop_factor` is 1 or less, the model is not compiled or not built, the data is empty,
            or `validation_data` is without labels.
        TypeError: If an argument is of the wrong type.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_cyclic as kc
    >>> keras.utils.set_random_seed(0)
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.random.normal(size=(256, 4))
    >>> result = kc.lr_range_test(model, x, x.sum(axis=1), verbose=0)
    >>> base_lr, max_lr = result.bounds()
    >>> schedule = kc.schedules.Triangular(base_lr, max_lr, step_size=100)

    References:

    - [Smith, 2017](https://arxiv.org/abs/1506.01186)
    """
    test = LRRangeTest(
        min_lr=min_lr,
        max_lr=max_lr,
        steps=steps,
        spacing=spacing,
        smoothing=smoothing,
        stop_factor=stop_factor,
        restore=restore,
        validation_data=validation_data,
        validation_every=validation_every,
        validation_batch_size=validation_batch_size,
        validation_steps=validation_steps,
        monitor=monitor,
        verbose=1 if verbose == "auto" else verbose,
    )
    check_model(model)
    # `fit` draws random numbers, and its data too, before and after its callbacks run.
    random_state = RandomState()
    # On JAX and PyTorch it builds the optimizer and the metrics, too.
    unbuilt = UnbuiltParts(model)
    # To know the shapes, it calls the model there.
    modules = TorchModules(model)
    attributes = Attributes(model, ["history", "stop_training", "_eval_epoch_iterator"])
    try:
        x = _not_empty(x)
        if y is None and _needs_targets(model, x):
            raise ValueError(
                "Argument `y` must be the targets, which the model's loss compares with its "
                f"outputs. Received: y=None, with the loss {model.loss!r}"
            )
        with warnings.catch_warnings():
            for expected in ("Your input ran out of data", "`shuffle=True` was passed"):
                warnings.filterwarnings("ignore", message=expected)
            model.fit(
                _replayed(x, test.steps) if _is_generator(x) else x,
                y,
                batch_size=batch_size,
                # As many as it can take, should an epoch be a single batch.
                epochs=test.steps,
                verbose=0,
                callbacks=[test],
                shuffle=shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
            )
    except StopIteration as error:
        # On JAX and PyTorch, `fit` looks at the first batch before it trains.
        raise ValueError("The data for the range test is empty.") from error
    finally:
        test.restore_model()
        attributes.restore()
        if restore:
            random_state.restore()
            unbuilt.restore()
            modules.restore_for_good()
    return test.result


def _needs_targets(model, x):
    """Whether Keras's own loss would be given no targets: those of a dataset are in it."""
    is_keras_own = all(
        getattr(type(model), name) is getattr(keras.Model, name)
        for name in ("train_step", "compute_loss")
    )
    is_arrays = all(hasattr(part, "shape") for part in keras.tree.flatten(x))
    return is_arrays and is_keras_own and isinstance(model.loss, (str, keras.losses.Loss))


def _is_generator(x):
    return hasattr(x, "__next__")


def _replayed(generator, steps):
    """The batches of a generator, over and over, of which it reads no more than `steps`."""
    seen = []
    for batch in itertools.islice(generator, steps):
        seen.append(batch)
        yield batch
    while seen:
        yield from seen


def _not_empty(x):
    if x is None:
        raise ValueError("Argument `x` must be the inputs to train on. Received: x=None")
    if _is_generator(x):
        first = list(itertools.islice(x, 1))
        sizes = [len(first)]
        x = itertools.chain(first, x)
    elif hasattr(x, "cardinality"):
        sizes = [int(x.cardinality())]
    elif isinstance(x, keras.utils.PyDataset):
        sizes = [x.num_batches]
    else:
        sizes = [array.shape[0] for array in keras.tree.flatten(x) if hasattr(array, "shape")]
    if 0 in sizes:
        raise ValueError("The data for the range test is empty. Received: `x` without samples")
    return x
