"""What callbacks must remember from one run to the next, saved with the model.

Keras saves what hangs on an optimizer and can save itself, into `.keras` files and into weights
files. It keeps nothing of a callback, and when it loads a `.keras` file it makes the optimizer
anew from its configuration, with nothing hanging on it. So the state hangs on the optimizer, and
the model's compile configuration says that it does.
"""

import json

import keras
import numpy as np

from keras_cyclic._fit import callback_list_that_called

_STATE = "callback_state"
_SAVED_AS = "state"


class CallbackState(keras.layers.Layer):
    """The state of the callbacks of a model; a layer, since Keras can save layers.

    An entry is a dict of Python numbers, strings, lists and NumPy arrays for each callback.
    """

    def __init__(self):
        super().__init__(name=_STATE)
        # A layer would track what a list or a dict holds.
        vars(self).update(_entries={}, _owners={}, _loaded=set())

    def attach(self, key, callback):
        """Hands a callback its entry, if one was loaded, and asks it for it on saving."""
        self._owners[key] = callback
        if key in self._loaded:
            callback.restore(self._entries.get(key))

    def release(self, key, callback):
        """Keeps what a callback remembers, and asks it no more: another model has it now."""
        if self._owners.get(key) is callback:
            self._entries[key] = callback.snapshot()
            del self._owners[key]

    def take_loaded(self, key):
        """Whether the entry of a callback was loaded since the last call."""
        loaded = key in self._loaded
        self._loaded.discard(key)
        return loaded

    def save_own_variables(self, store):
        arrays = []
        entries = {**self._entries, **{key: o.snapshot() for key, o in self._owners.items()}}
        text = json.dumps(entries, default=lambda value: _to_json(value, arrays))
        store[_SAVED_AS] = np.frombuffer(text.encode(), "uint8")
        for index, array in enumerate(arrays):
            store[f"array_{index}"] = array

    def load_own_variables(self, store):
        vars(self)["_entries"] = _read(store) if _SAVED_AS in store else {}
        vars(self)["_loaded"] = {*self._entries, *self._owners}
        for key, callback in self._owners.items():
            callback.restore(self._entries.get(key))


def _read(store):
    text = np.asarray(store[_SAVED_AS]).tobytes().decode()
    return json.loads(text, object_hook=lambda value: _from_json(value, store))


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

    def get_compile_config():
        config = type(model).get_compile_config(model)
        if "optimizer" in config and hasattr(model.optimizer, _STATE):
            marked = OptimizerWithState(model.optimizer)
            config["optimizer"] = keras.saving.serialize_keras_object(marked)
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
        return optimizer


_WRITERS = tuple(
    getattr(keras.callbacks, name)
    for name in ("BackupAndRestore", "ModelCheckpoint")
    if hasattr(keras.callbacks, name)
)


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
    holder, _ = callback_list_that_called()
    if holder is None or callback not in holder.callbacks:
        return 0
    place = holder.callbacks.index(callback)
    before = holder.callbacks[:place]
    writers = [other for other in before if isinstance(other, _WRITERS)]
    others = [other for other in before if not isinstance(other, _WRITERS)]
    # `set_model` walks through this very list: what stands behind this callback must stay there.
    holder.callbacks[: place + 1] = [*others, callback, *writers]
    return sum(map(same_kind, others))
