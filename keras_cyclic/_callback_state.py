"""What callbacks must remember from one run to the next, saved with the model.

Keras saves what hangs on an optimizer and can save itself, into `.keras` files and into weights
files. It keeps nothing of a callback, and when it loads a `.keras` file it makes the optimizer
anew from its configuration, with nothing hanging on it. So the state hangs on the optimizer, and
the model's compile configuration says that it does.
"""

import json
import warnings

import keras
import numpy as np

from keras_cyclic._fit import callback_list_with, caller_of_type

_STATE = "callback_state"
_SAVED_AS = "state"


class CallbackState(keras.layers.Layer):
    """The state of the callbacks of a model; a layer, since Keras can save layers.

    An entry is a dict of Python numbers, strings, lists and NumPy arrays for each callback.
    """

    def __init__(self):
        super().__init__(name=_STATE)
        # A layer would track what a list or a dict holds.
        vars(self).update(_entries={}, _owners={}, _loaded=set(), _begun=set())

    def attach(self, key, callback):
        """Hands a callback its entry, if one was loaded, and asks it for it on saving."""
        self._owners[key] = callback
        if key in self._loaded and key in self._entries:
            self._restore(key)

    def detach(self, callback):
        """Keeps what a callback remembers that goes over to another model."""
        for key in [key for key, owner in self._owners.items() if owner is callback]:
            self._entries[key] = self._owners.pop(key).snapshot()

    def begin_fit(self, key):
        """Says that the callback with this key takes part in the `fit` that begins.

        Returns:
            Whether its entry was loaded for this `fit`.
        """
        self._begun.add(key)
        return key in self._loaded

    def begin_epoch(self):
        """Forgets, in the first epoch of a `fit`, what that `fit` does not go on with."""
        if self._begun:
            owners = {key: owner for key, owner in self._owners.items() if key in self._begun}
            vars(self).update(_entries={}, _owners=owners, _loaded=set(), _begun=set())

    def save_own_variables(self, store):
        arrays = []
        entries = {**self._entries, **{key: o.snapshot() for key, o in self._owners.items()}}
        text = json.dumps(entries, default=lambda value: _to_json(value, arrays))
        store[_SAVED_AS] = np.frombuffer(text.encode(), "uint8")
        for index, array in enumerate(arrays):
            store[f"array_{index}"] = array

    def load_own_variables(self, store):
        try:
            entries = _read(store) if _SAVED_AS in store else {}
        except _UNREADABLE as error:
            _warn_unreadable("callbacks", error)
            entries = {}
        vars(self).update(_entries=entries, _loaded={*entries, *self._owners})
        # All first: what one callback starts anew with may be what another one has saved.
        for callback in self._owners.values():
            callback.restore(None)
        for key in self._owners:
            if key in entries:
                self._restore(key)

    def _restore(self, key):
        callback = self._owners[key]
        try:
            callback.restore(self._entries[key])
        except _UNREADABLE as error:
            _warn_unreadable(type(callback).__name__, error)
            del self._entries[key]
            callback.restore(None)


_UNREADABLE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)


def _warn_unreadable(owner, error):
    warnings.warn(
        f"The saved state of {owner} does not fit this model or cannot be read, and is left out: "
        f"{owner} will start anew. Reason: {error}",
        stacklevel=3,
    )


def _read(store):
    text = np.asarray(store[_SAVED_AS]).tobytes().decode()
    entries = json.loads(text, object_hook=lambda value: _from_json(value, store))
    if not all(isinstance(value, dict) for value in [entries, *entries.values()]):
        raise ValueError("an entry is not a dict")
    return entries


def _to_json(value, arrays):
    if not isinstance(value, np.ndarray):
        return float(value)
    arrays.append(value)
    return {"__array__": len(arrays) - 1}


def _from_json(value, store):
    return np.array(store[f"array_{value['__array__']}"]) if "__array__" in value else value


def state_of(model):
    """The state that hangs on a model's optimizer, and is saved with it from now on."""
    state = getattr(model.optimizer, _STATE, None)
    if state is None:
        state = CallbackState()
        setattr(model.optimizer, _STATE, state)
    _save_in_compile_config(model)
    return state


def _save_in_compile_config(model):
    if "get_compile_config" in vars(model):
        return
    marked = []

    def get_compile_config():
        config = type(model).get_compile_config(model)
        if config and "optimizer" in config and hasattr(model.optimizer, _STATE):
            # It must live on: in the file, Keras tells objects apart by their `id`.
            marked[:] = [OptimizerWithState(model.optimizer)]
            config["optimizer"] = keras.saving.serialize_keras_object(marked[0])
        return config

    vars(model)["get_compile_config"] = get_compile_config


@keras.saving.register_keras_serializable(package="keras_cyclic")
class OptimizerWithState:
    """Stands for an optimizer in the configuration of a model, so that it is loaded with a state.

    What is loaded is the optimizer itself.
    """

    def __init__(self, optimizer):
        self._optimizer = optimizer

    def get_config(self):
        return {"optimizer": keras.saving.serialize_keras_object(self._optimizer)}

    @classmethod
    def from_config(cls, config):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        setattr(optimizer, _STATE, CallbackState())
        # An optimizer does not know its model, which must save the state again.
        model = caller_of_type(keras.Model)
        if model is not None:
            _save_in_compile_config(model)
        return optimizer


_WRITERS = (keras.callbacks.BackupAndRestore, keras.callbacks.ModelCheckpoint)


def place_in_list(callback, same_kind):
    """Sees to it that checkpoints hold what the callback does at the end of an epoch.

    Callbacks that write checkpoints and stand before this one are moved behind it.

    Args:
        callback: The callback, whose `set_model` the list is calling.
        same_kind: A function that says of another callback whether it has the same name for its
            state.

    Returns:
        How many callbacks of the same kind stand before this one.
    """
    holder = callback_list_with(callback)
    if holder is None:
        return 0
    place = holder.callbacks.index(callback)
    before = holder.callbacks[:place]
    writers = [other for other in before if isinstance(other, _WRITERS)]
    others = [other for other in before if not isinstance(other, _WRITERS)]
    # `set_model` walks through this very list: what stands behind this callback must stay there.
    holder.callbacks[: place + 1] = [*others, callback, *writers]
    return sum(map(same_kind, others))
