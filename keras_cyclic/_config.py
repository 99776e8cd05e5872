"""Configuration and `repr` of a class, both read off its constructor's signature."""

import inspect
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from typing_extensions import Self


class Configurable:
    """Gives `get_config`, `from_config` and `repr` to a class that keeps its arguments.

    Every constructor argument must be an attribute of the same name, of plain numbers, strings,
    lists, or of objects and functions that Keras can serialize.
    """

    @classmethod
    def _arguments(cls):
        return inspect.signature(cls).parameters

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, in types that `json` can write."""
        return {name: _to_config(getattr(self, name)) for name in self._arguments()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Self":
        """The object whose `get_config` gave `config`."""
        return cls(**{name: _from_config(value) for name, value in config.items()})

    def __repr__(self) -> str:
        given = (
            f"{name}={describe(getattr(self, name))}"
            for name, argument in self._arguments().items()
            if getattr(self, name) != argument.default
        )
        return f"{type(self).__name__}({', '.join(given)})"


def describe(value):
    """What a reader would type to get `value`."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(describe, value))}]"
    if inspect.isfunction(value):
        return value.__name__
    if type(value).__repr__ is not object.__repr__:
        return repr(value)
    # Keras's own schedules print as an address.
    config = value.get_config() if hasattr(value, "get_config") else {}
    given = ", ".join(f"{name}={describe(item)}" for name, item in config.items())
    return f"{type(value).__name__}({given})"


def _to_config(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_to_config(item) for item in value]
    return keras.saving.serialize_keras_object(value)


def _from_config(value):
    if isinstance(value, (list, tuple)):
        return [_from_config(item) for item in value]
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return value
