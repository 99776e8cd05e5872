"""User functions: only those that Keras can save and load again."""

import inspect

import keras

from keras_cyclic._arguments import shown


def check_saveable(name, function):
    """Raises at once where saving or loading the model would fail hours later.

    Args:
        name: The argument that the function came in, for the error text.
        function: A function, or an object that can be called.

    Raises:
        ValueError: If Keras could not save the function and load it again.
    """
    if _is_lambda(function):
        raise ValueError(_how_to_register(name, function))
    try:
        loaded = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(function)
        )
    except Exception as error:
        raise ValueError(_how_to_register(name, function)) from error
    same = loaded is function if inspect.isfunction(function) else type(loaded) is type(function)
    if not same:
        raise ValueError(_how_to_register(name, function))


def _is_lambda(function):
    return inspect.isfunction(function) and function.__name__ == "<lambda>"


def _how_to_register(name, function):
    if inspect.isfunction(function):
        kind = "a lambda" if _is_lambda(function) else f"`{function.__name__}`"
        advice = (
            f"a function that Keras can save, and {kind} is not registered. Define it with `def` "
            'and put `@keras.saving.register_keras_serializable(package="my_package")` above it.'
        )
    else:
        advice = (
            "a function that Keras can save, or an object of a class with `get_config` and "
            "`from_config` that is registered with `keras.saving.register_keras_serializable`."
        )
    return f"Argument `{name}` must be {advice} Received: {name}={shown(function)}"
