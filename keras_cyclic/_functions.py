"""User functions: only those that Keras can save and load again."""

import keras


def check_saveable(name, function):
    """Raises at once where saving the model would fail hours later.

    Args:
        name: The argument that the function came in, for the error text.
        function: A callable.
    """
    label = getattr(function, "__name__", None)
    if label is None:
        _check_object(name, function)
        return
    if label == "<lambda>" or _loaded_again(function) is not function:
        raise ValueError(
            f"Argument `{name}` must be a function that Keras can save, and "
            f"{_description(function)} is not registered. Define it with `def` and put "
            '`@keras.saving.register_keras_serializable(package="my_package")` above it. '
            f"Received: {name}={function!r}"
        )


def _check_object(name, value):
    try:
        _loaded_again(value)
    except Exception as error:
        raise ValueError(
            f"Argument `{name}` must be a function or an object that Keras can save. Register "
            "its class with `keras.saving.register_keras_serializable` and give it a "
            f"`get_config` method. Received: {name}={value!r}"
        ) from error


def _loaded_again(function):
    try:
        return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(function))
    except (TypeError, ValueError):
        return None


def _description(function):
    return "a lambda" if function.__name__ == "<lambda>" else f"`{function.__name__}`"
