"""Which hyperparameters of an optimizer a schedule can drive, and within which limits."""

import numbers

import keras

_FROM_0_BELOW_1 = (lambda value: 0 <= value < 1, "0 or more and below 1")
_FROM_0_TO_1 = (lambda value: 0 <= value <= 1, "from 0 to 1")
_NOT_NEGATIVE = (lambda value: value >= 0, "0 or more")
_POSITIVE = (lambda value: value > 0, "above 0")
_NOT_POSITIVE = (lambda value: value <= 0, "0 or less")

_LIMITS = {
    "momentum": _FROM_0_BELOW_1,
    "beta_1": _FROM_0_BELOW_1,
    "beta_2": _FROM_0_BELOW_1,
    "adam_beta_1": _FROM_0_BELOW_1,
    "adam_beta_2": _FROM_0_BELOW_1,
    "rho": _FROM_0_BELOW_1,
    "ema_momentum": _FROM_0_TO_1,
    "weight_decay": _NOT_NEGATIVE,
    "adam_weight_decay": _NOT_NEGATIVE,
    "epsilon": _NOT_NEGATIVE,
    "epsilon_1": _NOT_NEGATIVE,
    "epsilon_2": _NOT_NEGATIVE,
    "beta": _NOT_NEGATIVE,
    "l1_regularization_strength": _NOT_NEGATIVE,
    "l2_regularization_strength": _NOT_NEGATIVE,
    "l2_shrinkage_regularization_strength": _NOT_NEGATIVE,
    "adam_lr_ratio": _NOT_NEGATIVE,
    "clipnorm": _POSITIVE,
    "global_clipnorm": _POSITIVE,
    "clipvalue": _POSITIVE,
    "clip_threshold": _POSITIVE,
    "loss_scale_factor": _POSITIVE,
    "rms_rate": _POSITIVE,
    "learning_rate_power": _NOT_POSITIVE,
    "beta_2_decay": _NOT_POSITIVE,
}
_ANY = (lambda value: True, "any finite number")

_COUNTS = ("gradient_accumulation_steps", "ema_overwrite_frequency", "ns_steps", "warmup_steps")
_SWITCHED_OFF_BY_0 = ("clipnorm", "global_clipnorm", "clipvalue", "loss_scale_factor")


def limits(name):
    """The values that an optimizer allows: a predicate, and the words for it."""
    return _LIMITS.get(name, _ANY)


def names(optimizer):
    """The hyperparameters of `optimizer` that are floats, or would be if they were not None."""
    return [
        name
        for name, value in optimizer.get_config().items()
        if name in vars(optimizer)
        and name not in (*_COUNTS, "name", "learning_rate")
        and (value is None or _is_number(value))
    ]


def refusal(optimizer, name):
    """Why a schedule cannot drive a hyperparameter, or None if it can.

    Args:
        optimizer: An optimizer that is no wrapper.
        name: A string.
    """
    if name == "learning_rate":
        return (
            "the learning rate takes a schedule without a callback: build the optimizer with "
            "`learning_rate=schedule`"
        )
    if name.startswith("_") or name not in vars(optimizer):
        return f"there is no such hyperparameter, only {', '.join(names(optimizer))}"
    value = vars(optimizer)[name]
    if name in _COUNTS:
        return "it counts steps, in whole numbers"
    if value is None:
        return f"it is None, so that the update leaves it out: build the optimizer with a {name}"
    if not _is_number(value):
        return f"it is no float but {value!r}"
    if name == "initial_accumulator_value":
        return "it is read once, when the optimizer is built, and never by an update"
    if name == "ema_momentum" and not optimizer.use_ema:
        return "without `use_ema=True` there is no moving average"
    if name in _SWITCHED_OFF_BY_0 and value == 0:
        return f"0 switches it off: build the optimizer with a positive {name}"
    if (
        name == "momentum"
        and value == 0
        and isinstance(optimizer, (keras.optimizers.SGD, keras.optimizers.RMSprop))
    ):
        return (
            "an optimizer built with momentum=0 has no momentum slots: build it with a positive "
            "one, which the schedule then replaces"
        )
    if name == "beta_1" and _is_schedule_free(optimizer):
        return (
            "the update takes the last step's weights apart with it, and so needs one value for "
            "the whole training"
        )
    return None


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_schedule_free(optimizer):
    return isinstance(optimizer, getattr(keras.optimizers, "ScheduleFreeAdamW", ()))
