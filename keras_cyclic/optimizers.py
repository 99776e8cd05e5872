"""Optimizers with a rate for each part of a model."""

import itertools
import re
from collections.abc import Mapping

import keras

from keras_cyclic import _arguments
from keras_cyclic._layer_depths import is_layered, layer_depths
from keras_cyclic._types import Real
from keras_cyclic.schedules.schedule import KerasSchedule, Product

if hasattr(keras.optimizers, "MultiOptimizer"):
    from keras_cyclic._layerwise_optimizer import LayerwiseOptimizer
else:
    LayerwiseOptimizer = None  # type: ignore[assignment, misc]


def layerwise(
    optimizer: keras.optimizers.Optimizer, multipliers: Mapping[str, Real], default: Real = 1.0
) -> "keras.optimizers.MultiOptimizer":
    """An optimizer that trains each part of a model at a rate of its own.

    ```
    rate of a variable at step t = multiplier * learning_rate(t)
    ```

    with the multiplier of the pattern that matches the variable's path, else `default`. These are
    the discriminative rates of ULMFiT, what parameter groups are in PyTorch.

    What comes back is a `keras.optimizers.MultiOptimizer`, whose `.optimizers` are the groups:
    copies of `optimizer` with its settings, named after it and after their patterns. Weight decay
    is multiplied too, since Keras multiplies it by the rate. A multiplier of 0 holds the weights
    where they are; `layer.trainable = False` does the same for less work.

    `global_clipnorm` clips by the norm of the gradients of all groups together, and what
    `exclude_from_weight_decay` excludes stays excluded in each group; it can also be called on the
    result, before the first step.

    A variable's path is what `variable.path` says: `[v.path for v in model.trainable_variables]`.
    In a functional model the layers of a model inside it are not below its name, so that
    `"backbone/.*"` matches nothing there, which is an error that lists the paths;
    `layerwise_decay` finds the paths by itself. When Keras loads a Sequential model, its variables
    get other paths: the groups are therefore saved once the optimizer is built, in the first step
    or by `optimizer.build(model.trainable_variables)`, and found again by the place of a variable.

    Args:
        optimizer: A Keras optimizer that is not built yet and no wrapper. Its learning rate is a
            float or a `LearningRateSchedule`. It is left as it is.
        multipliers: A dict from regular expressions, which match whole paths of trainable
            variables, to finite numbers of 0 or more.
        default: The multiplier of the variables that no pattern matches. Defaults to `1.0`.

    Returns:
        A `keras.optimizers.MultiOptimizer`.

    Raises:
        TypeError: If `optimizer` is no optimizer or a wrapper of optimizers, `multipliers` no dict
            of strings, or a multiplier no number.
        ValueError: If `optimizer` is built, its rate is a function, it has both `global_clipnorm`
            and `gradient_accumulation_steps` (the gradients are summed up in the groups, after
            the clipping), a pattern is no regular expression, or a multiplier is negative or not
            finite; before the first step, if a pattern matches no variable, or two match the same.
        ImportError: If Keras is older than 3.15, where `MultiOptimizer` came.

    Example:

    >>> import keras, numpy as np
    >>> import keras_cyclic as kc
    >>> model = keras.Sequential(
    ...     [keras.layers.Dense(8, name="backbone"), keras.layers.Dense(1, name="head")]
    ... )
    >>> schedule = kc.schedules.Triangular(base_lr=0.0, max_lr=0.1, step_size=10)
    >>> optimizer = kc.optimizers.layerwise(
    ...     keras.optimizers.SGD(schedule, momentum=0.9, name="sgd"), {".*/backbone/.*": 0.1}
    ... )
    >>> model.compile(optimizer, "mse")
    >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    >>> {group.name: round(float(group.learning_rate), 5) for group in optimizer.optimizers}
    {'sgd_backbone': 0.001, 'sgd_default': 0.01}

    Reference:

    - [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)
    """
    if LayerwiseOptimizer is None:
        raise ImportError(
            "`layerwise` needs `keras.optimizers.MultiOptimizer`, which came with Keras 3.15 "
            f"(Python 3.11 or newer). Received: keras {keras.__version__}"
        )
    _check_optimizer(optimizer)
    multipliers = _checked_multipliers(multipliers)
    default = _arguments.not_negative("default", default)
    names = _group_names(optimizer.name, multipliers)
    groups = {
        pattern: _scaled(optimizer, factor, name)
        for (pattern, factor), name in zip(multipliers.items(), names)
    }
    together = LayerwiseOptimizer(
        keras.optimizers.OptimizerMap(_scaled(optimizer, default, names[-1]), groups),
        loss_scale_factor=optimizer.loss_scale_factor,
        global_clipnorm=optimizer.global_clipnorm,
        name=f"layerwise_{optimizer.name}",
    )
    for attribute in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if getattr(optimizer, attribute, None):
            setattr(together, attribute, getattr(optimizer, attribute))
    return together


def layerwise_decay(model: keras.Model, decay: Real = 0.9) -> dict[str, float]:
    """The multipliers of layer-wise learning-rate decay, for `layerwise`.

    ```
    multiplier of a layer = decay ** depth
    ```

    with the depth counted from the output: 0 for the last layer that has weights, 1 for the one
    before it. Layers without weights do not count, frozen ones do. Where layers stand side by side,
    they have the same depth if they are equally far from the output; of several ways to it, the
    longest counts. Sequential and functional models inside the model are looked into; any other
    layer made of layers counts as one.

    Args:
        model: A Sequential or functional model that is built. Layers that are not to be trained
            must be frozen before.
        decay: What the rate is multiplied by from layer to layer, above 0 and at most 1.
            Defaults to `0.9`.

    Returns:
        A dict from regular expressions, one for each layer with trainable variables, to
        multipliers, in the order from the input to the output.

    Raises:
        TypeError: If `model` is no Sequential or functional model, or `decay` no number.
        ValueError: If `decay` is out of bounds, or `model` is not built, has no trainable
            variables, or has variables of the same path in several layers.

    Example:

    >>> import keras
    >>> import keras_cyclic as kc
    >>> inputs = keras.Input((4,))
    >>> hidden = keras.layers.Dense(8, activation="relu", name="first")(inputs)
    >>> hidden = keras.layers.Dropout(0.1)(hidden)
    >>> hidden = keras.layers.Dense(8, activation="relu", name="second")(hidden)
    >>> model = keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))
    >>> multipliers = kc.optimizers.layerwise_decay(model, decay=0.5)
    >>> multipliers
    {'first/.*': 0.25, 'second/.*': 0.5, 'head/.*': 1.0}
    >>> model.compile(kc.optimizers.layerwise(keras.optimizers.Adam(0.001), multipliers), "mse")

    Reference:

    - [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)
    - [Clark et al., 2020](https://arxiv.org/abs/2003.10555)
    """
    if not is_layered(model):
        raise TypeError(
            "Argument `model` must be a Sequential or functional model, whose layers have an "
            f"order. Received: model={_arguments.shown(model)} of type {type(model).__name__}"
        )
    decay = _arguments.decay_factor("decay", decay)
    if not model.built or not model.trainable_variables:
        raise ValueError(
            "Argument `model` must be built and have trainable variables: give it a `keras.Input` "
            f"or call it on a batch. Received: model={_arguments.shown(model)}"
        )
    layers = sorted(layer_depths(model).values(), key=lambda entry: -entry[1])
    _check_paths([layer for layer, _ in layers])
    paths = [variable.path for variable in model.trainable_variables]
    return {
        _pattern_of(layer, paths): decay**depth
        for layer, depth in layers
        if layer.trainable_variables
    }


def _check_paths(layers):
    """Raises if variables of two layers cannot be told apart."""
    owners = {}
    for layer in layers:
        for path in (variable.path for variable in layer.trainable_variables):
            owner = owners.setdefault(path, layer)
            if owner is not layer:
                raise ValueError(
                    "Argument `model` must not have variables of the same path in two layers, "
                    "which no pattern tells apart. Give the layers, or those that they are in, "
                    f"names of their own. Received: {path} in {owner!r} and {layer!r}"
                )


def _pattern_of(layer, paths):
    """A regular expression that, of all paths, matches those of a layer's variables."""
    own = {variable.path for variable in layer.trainable_variables}
    prefix = f"{layer.path}/"
    if own == {path for path in paths if path.startswith(prefix)}:
        return f"{re.escape(prefix)}.*"
    return "|".join(re.escape(path) for path in sorted(own))


def _check_optimizer(optimizer):
    kinds = (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or isinstance(optimizer, kinds):
        raise TypeError(
            "Argument `optimizer` must be a Keras optimizer that updates weights by itself; a "
            "LossScaleOptimizer goes around the result. "
            f"Received: optimizer={_arguments.shown(optimizer)} of type {type(optimizer).__name__}"
        )
    if optimizer.built:
        raise ValueError(
            "Argument `optimizer` must not be built: its state would be lost. Make a new one. "
            f"Received: optimizer={_arguments.shown(optimizer)}, "
            f"built for {len(optimizer._trainable_variables)} "
            "variables"
        )
    rate = optimizer._learning_rate
    if not isinstance(rate, (KerasSchedule, keras.Variable)):
        raise ValueError(
            "Argument `optimizer` must have a learning rate that is a float or a "
            f"`LearningRateSchedule`, which can be multiplied. Received: learning_rate={rate!r}"
        )
    if optimizer.global_clipnorm and optimizer.gradient_accumulation_steps:
        raise ValueError(
            "Argument `optimizer` must not have both `global_clipnorm` and "
            "`gradient_accumulation_steps`: each group sums up its own gradients, and the norm of "
            "all sums together is known to none. Use `clipnorm`. Received: "
            f"global_clipnorm={optimizer.global_clipnorm!r}, "
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps!r}"
        )


def _checked_multipliers(multipliers):
    allowed = "a dict from regular expressions on variable paths to numbers"
    if not isinstance(multipliers, dict) or not all(isinstance(key, str) for key in multipliers):
        raise TypeError(
            f"Argument `multipliers` must be {allowed}. "
            f"Received: multipliers={_arguments.shown(multipliers)} "
            f"of type {type(multipliers).__name__}"
        )
    if not multipliers:
        raise ValueError(f"Argument `multipliers` must be {allowed}, not empty. Received: {{}}")
    for pattern in multipliers:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"Argument `multipliers` must be {allowed}. "
                f"Received: {_arguments.shown(pattern)}, which is no regular expression ({error})"
            ) from error
    return {
        pattern: _arguments.not_negative(f"multipliers[{_arguments.shown(pattern)}]", factor)
        for pattern, factor in multipliers.items()
    }


def _group_names(name, multipliers):
    """A name for each group, and one for the default, that a scope of TensorFlow can have."""
    names = []
    for pattern in [*multipliers, "default"]:
        words = re.sub(r"[^A-Za-z0-9]+", "_", pattern).strip("_")[:40] or "group"
        numbered = (f"{words}_{number}" for number in itertools.count(1))
        names.append(next(each for each in itertools.chain([words], numbered) if each not in names))
    return [f"{name}_{each}" for each in names]


def _scaled(optimizer, factor, name):
    """A copy of an optimizer that is not built, at its rate times a number."""
    rate = optimizer._learning_rate
    if not isinstance(rate, KerasSchedule):
        rate = float(keras.ops.convert_to_numpy(rate)) * factor
    elif factor != 1.0:
        rate = Product(rate, factor)
    config = optimizer.get_config() | {"learning_rate": rate, "name": name}
    return type(optimizer).from_config(config | {"global_clipnorm": None})
