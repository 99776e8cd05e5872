"""Keras's `MultiOptimizer`, with what groups of one optimizer need in addition.

Needs Keras 3.15, where `MultiOptimizer` came.
"""

import dataclasses
import re

import keras
from keras.src.optimizers.base_optimizer import clip_by_global_norm


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What was decided for each variable when the optimizer was built.

    Args:
        variables: The name and shape of each variable, as a string.
        groups: The pattern of each variable's group, None for the default.
        undecayed: Whether each variable is excluded from weight decay.
    """

    variables: list
    groups: list
    undecayed: list

    def of(self, variables):
        """The assignment of these variables, or None if they cannot be those of this model.

        As far as names and shapes tell. They may be there more than once: an ensemble trains
        several models like this one.
        """
        found = fingerprints(variables)
        copies = len(found) // max(len(self.variables), 1)
        if not copies or found != self.variables * copies:
            return None
        return Assignment(found, self.groups * copies, self.undecayed * copies)


def fingerprints(variables):
    """The name and shape of each variable."""
    return [f"{variable.name} {list(variable.shape)}" for variable in variables]


@keras.saving.register_keras_serializable(package="keras_cyclic")
class LayerwiseOptimizer(keras.optimizers.MultiOptimizer):
    """The optimizer that `keras_cyclic.optimizers.layerwise` makes; see there.

    It checks that each pattern is of use, clips by the norm of all groups together, and keeps in
    its config which group each variable is in: Keras gives the variables of many models other
    paths when it loads them, which the patterns would not match.

    Args:
        optimizer_map: A `keras.optimizers.OptimizerMap`.
        loss_scale_factor: As for any optimizer.
        global_clipnorm: As for any optimizer, over all groups.
        exclude_names: The pattern of names that are excluded from weight decay, or None.
        assignment: The config of an `Assignment`, or None.
        name: The optimizer's name.
    """

    def __init__(
        self,
        optimizer_map,
        loss_scale_factor=None,
        global_clipnorm=None,
        exclude_names=None,
        assignment=None,
        name=None,
    ):
        super().__init__(optimizer_map, loss_scale_factor=loss_scale_factor, name=name)
        self.global_clipnorm = global_clipnorm
        if exclude_names is not None:
            self.exclude_from_weight_decay(var_names=[exclude_names])
        self._assignment = None if assignment is None else Assignment(**assignment)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """As for any optimizer, for all groups; to be called before the optimizer is built."""
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay()` can only be called before the optimizer is built."
            )
        super().exclude_from_weight_decay(var_list, var_names)
        self._assignment = None

    def build(self, var_list):
        if self.built:
            return
        assignment = self._assignment and self._assignment.of(var_list)
        if assignment is None:
            assignment = self._assign(var_list)
        optimizer_map = self._optimizer_map
        chosen = {
            id(variable): optimizer_map.default_optimizer if group is None else optimizer_map[group]
            for variable, group in zip(var_list, assignment.groups)
        }
        undecayed = [v for v, excluded in zip(var_list, assignment.undecayed) if excluded]
        if undecayed:
            for optimizer in self.optimizers:
                optimizer.exclude_from_weight_decay(var_list=undecayed)
        # Keras looks up each variable's path, of which nothing is known after loading.
        self._optimizer_map = lambda variable: chosen[id(variable)]
        try:
            super().build(var_list)
        finally:
            self._optimizer_map = optimizer_map
        self._assignment = assignment
        if keras.backend.backend() == "torch":
            for optimizer in self.optimizers:
                if not any(map(optimizer._use_weight_decay, optimizer._trainable_variables)):
                    # Keras would hand an empty list to PyTorch, which refuses it.
                    optimizer._apply_weight_decay = _no_weight_decay

    def _assign(self, variables):
        if self._assignment is not None and any(self._assignment.undecayed):
            raise ValueError(
                "The optimizer comes from a config in which variables of another model are "
                "excluded from weight decay. Call `exclude_from_weight_decay` for this model's. "
                f"Received: variables {_listed(fingerprints(variables))}"
            )
        groups = match(self._optimizer_map, [variable.path for variable in variables])
        # What the groups of TensorFlow ask about is the variable of TensorFlow, by its longer name.
        native = keras.backend.backend() == "tensorflow"
        undecayed = [not self._use_weight_decay(v.value if native else v) for v in variables]
        return Assignment(fingerprints(variables), groups, undecayed)

    def apply(self, grads, trainable_variables=None):
        if self.global_clipnorm:
            if not self.built and trainable_variables is not None:
                self.build(list(trainable_variables))
            grads = self._clipped(grads, trainable_variables or self._trainable_variables)
        super().apply(grads, trainable_variables)

    def _clipped(self, grads, variables):
        # Under float8, what comes as the gradient of some variables is their new value.
        real = [
            None if self._overwrite_variable_with_gradient(variable) else grad
            for grad, variable in zip(grads, variables)
        ]
        if all(grad is None for grad in real):
            return grads
        # The groups divide the gradients by the scale, but only after this.
        norm = self.global_clipnorm * (self.loss_scale_factor or 1.0)
        clipped = clip_by_global_norm(real, norm)
        return [old if new is None else new for old, new in zip(grads, clipped)]

    def get_config(self):
        pattern = getattr(self, "_exclude_from_weight_decay_pattern", None)
        if self._assignment is None and getattr(self, "_exclude_from_weight_decay", None):
            raise ValueError(
                "The variables given to `exclude_from_weight_decay(var_list=...)` have no place in "
                "a config before the optimizer is built. Call "
                "`optimizer.build(model.trainable_variables)` first, or give `var_names`."
            )
        return super().get_config() | {
            "global_clipnorm": self.global_clipnorm,
            "exclude_names": None if pattern is None else pattern.pattern,
            "assignment": self._assignment and dataclasses.asdict(self._assignment),
        }


def _no_weight_decay(variables):
    """What an optimizer does none of whose variables decay."""


def match(patterns, paths):
    """The one of the patterns that matches each path, None where none does.

    Args:
        patterns: Regular expressions, matched as `keras.optimizers.OptimizerMap` does it.
        paths: The paths of variables.

    Raises:
        ValueError: If a pattern matches no path, or two match the same one.
    """
    matches = [[p for p in patterns if p == path or re.fullmatch(p, path)] for path in paths]
    unused = [p for p in patterns if not any(p in found for found in matches)]
    if unused:
        raise ValueError(
            "Argument `multipliers` must have patterns each of which matches, as a whole, the path "
            f"of a trainable variable. None is matched by: {_listed(map(repr, unused))}. The "
            f"paths are: {_listed(paths)}"
        )
    double = {path: found for path, found in zip(paths, matches) if len(found) > 1}
    if double:
        raise ValueError(
            "Argument `multipliers` must have patterns of which no two match the same variable. "
            + " ".join(
                f"{path} is matched by {_listed(map(repr, double[path]))}." for path in double
            )
            + f" The paths are: {_listed(paths)}"
        )
    return [found[0] if found else None for found in matches]


def _listed(items):
    return ", ".join(items)
