"""One model that averages the predictions of saved ones."""

import inspect
import json
import os
import warnings
import zipfile
from collections.abc import Iterable
from typing import Any

import keras

from keras_cyclic._arguments import shown


def load_ensemble(
    filepaths: Iterable[str | os.PathLike[str]],
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> keras.Model:
    """Loads saved models as one model that averages their predictions.

    ```
    ensemble(x) = (member_1(x) + ... + member_m(x)) / m
    ```

    for each output by itself. The ensemble is a functional `keras.Model` of the members, named
    `member_1`, `member_2` and so on, and `keras.layers.Average`, which bear the names of the
    members' outputs. It predicts, is evaluated, trained and saved like any model. Where
    `keras_cyclic` is not imported, it is loaded with `compile=False` if its optimizer has a
    schedule of `keras_cyclic`, and like any model otherwise.

    Outputs are averaged as they are, in float32 at least, whatever the members compute in:
    probabilities where the members end in a softmax, as in the paper. Averaged logits are those
    of the geometric mean of the members' probabilities, up to a constant: a good ensemble too,
    but another one.

    The ensemble is compiled as the first member was: with its loss, metrics and optimizer, which
    is new and at step 0. It trains all members together, on the loss of their average. Losses
    that layers add, as regularizers do, are added for every member.

    Args:
        filepaths: The paths of whole models that `model.save` or `SnapshotEnsemble` wrote,
            `.keras` files: a list of strings or `os.PathLike`. All have the same inputs and
            outputs. A model named twice weighs twice.
        custom_objects: A dict of the custom classes and functions in the models, by name, where
            they are not registered. Defaults to `None`.
        compile: Whether to compile the ensemble, if the first member was. Defaults to `True`.
        safe_mode: Whether to refuse models whose loading would run code that is saved with them,
            as `keras.saving.load_model` does. Defaults to `True`.

    Returns:
        A `keras.Model`.

    Raises:
        TypeError: If `filepaths` is a single path, or holds something that is no path.
        FileNotFoundError: If there is no file at one of the paths.
        ValueError: If `filepaths` is empty; if a file is no whole `.keras` file, or its model is
            not built, cannot be called on `keras.Input`, has an output of whole numbers, or has
            other inputs or outputs than the first.

    Example:

    >>> import os, tempfile, keras, numpy as np
    >>> import keras_cyclic as kc
    >>> inputs = keras.Input((4,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [os.path.join(folder, name) for name in ("one.keras", "three.keras")]
    ...     for path, value in zip(paths, (1.0, 3.0)):
    ...         keras.Model(inputs, value * keras.ops.mean(inputs, 1, True)).save(path)
    ...     ensemble = kc.load_ensemble(paths)
    >>> ensemble.predict(np.ones((1, 4)), verbose=0).tolist()
    [[2.0]]

    Reference:

    - [Huang et al., 2017](https://arxiv.org/abs/1704.00109)
    """
    paths = _check_paths(filepaths)
    with keras.saving.custom_object_scope(custom_objects or {}):
        members = [keras.saving.load_model(p, compile=False, safe_mode=safe_mode) for p in paths]
        for member, path in zip(members, paths):
            _check_same(
                "inputs", paths[0], _inputs(members[0], paths[0]), path, _inputs(member, path)
            )
        inputs = _inputs(members[0], paths[0])
        taken = [_layer_of(tensor).name for tensor in keras.tree.flatten(inputs)]
        output_names = _free_names(_output_names(members[0]), taken)
        member_names = [f"member_{number + 1}" for number in range(len(members))]
        for member, name in zip(members, _free_names(member_names, taken + output_names)):
            member.name = name
            taken.append(name)
        outputs = [_call(member, path, inputs) for member, path in zip(members, paths)]
        for output, path in zip(outputs, paths):
            _check_same("outputs", paths[0], outputs[0], path, output)
        output_names = output_names or _free_names(_names_by_place(outputs[0]), taken)
        averages = [
            _average(name, same, paths[0])
            for name, same in zip(output_names, zip(*map(keras.tree.flatten, outputs)))
        ]
        ensemble = keras.Model(
            inputs, keras.tree.pack_sequence_as(outputs[0], averages), name="ensemble"
        )
        if compile:
            _compile_like(ensemble, paths[0], safe_mode)
    return ensemble


def _check_paths(filepaths):
    allowed = "a list of the paths of `.keras` files"
    received = f"Received: filepaths={shown(filepaths)}"
    if isinstance(filepaths, (str, bytes, os.PathLike)) or not isinstance(filepaths, Iterable):
        raise TypeError(
            f"Argument `filepaths` must be {allowed}; for one model, [path]. "
            f"{received} of type {type(filepaths).__name__}"
        )
    try:
        filepaths = list(filepaths)
    except TypeError as error:
        raise TypeError(f"Argument `filepaths` must be {allowed}. {received}") from error
    for path in filepaths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f"Argument `filepaths` must be {allowed}. "
                f"Received: {shown(path)} of type {type(path).__name__} in it"
            )
    paths = [os.fspath(path) for path in filepaths]
    if not paths:
        raise ValueError(f"Argument `filepaths` must be {allowed}, one at least. {received}")
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"Argument `filepaths` must be {allowed}. There is no file {path!r}."
            )
        if not path.endswith(".keras") or not zipfile.is_zipfile(path):
            raise ValueError(
                f"Argument `filepaths` must be {allowed}, as `model.save` writes them. "
                f"No such file, or not whole: {path!r}"
            )
    return paths


def _inputs(model, path):
    """New inputs in the structure of those of a model."""
    if not model.built:
        raise ValueError(
            f"The model in {path!r} is not built and so has no weights. Call it on a batch, or "
            "train it, before it is saved."
        )
    functional = getattr(model, "_functional", None) or model
    if hasattr(functional, "_inputs_struct"):
        return keras.tree.map_structure(_input_like, functional._inputs_struct)
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ValueError(
            f"The model in {path!r} is a subclass of `keras.Model` of which the inputs cannot be "
            "known: Keras knows them for a `call` that takes one argument, a tensor or a "
            "structure of tensors."
        )
    return _inputs_of_shapes(shapes)


def _layer_of(tensor):
    return tensor._keras_history.operation


def _input_like(tensor):
    layer = _layer_of(tensor)
    return type(layer).from_config(layer.get_config()).output


def _inputs_of_shapes(shapes, name=None):
    """Inputs of any batch size for the shapes that a model was built with, by its `call`."""
    if isinstance(shapes, dict):
        return {key: _inputs_of_shapes(shape, key) for key, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return keras.Input(shape=tuple(shapes)[1:], name=name)
    return [_inputs_of_shapes(shape) for shape in shapes]


def _call(model, path, inputs):
    try:
        return model(inputs)
    except Exception as error:
        raise ValueError(
            f"The model in {path!r} cannot be called on `keras.Input`, which a member of an "
            f"ensemble must be: {error}"
        ) from error


def _check_same(what, first_path, first, path, other):
    """Raises if two structures of tensors differ in form, shapes or types."""
    first, other = (
        keras.tree.map_structure(lambda tensor: f"{tensor.dtype} {tensor.shape}", tensors)
        for tensors in (first, other)
    )
    if first != other:
        raise ValueError(
            f"The models of an ensemble must have the same {what}. Received: {first} in "
            f"{first_path!r} and {other} in {path!r}"
        )


def _output_names(model):
    """The names that losses and metrics of a model may be given by, or an empty list."""
    return list(getattr(getattr(model, "_functional", None) or model, "output_names", None) or [])


def _names_by_place(outputs):
    """Names for the outputs of a model that gives them none: keys of a dict, or their numbers."""
    paths = [path for path, _ in keras.tree.flatten_with_path(outputs)]
    prefix = [] if isinstance(outputs, dict) else ["output"]
    return ["_".join([*prefix, *map(str, path)]) for path in paths]


def _free_names(names, taken):
    """`names`, with a number appended to those that are taken or there twice."""
    free = []
    for name in names:
        tried, number = name, 0
        while tried in taken or tried in free:
            number += 1
            tried = f"{name}_{number}"
        free.append(tried)
    return free


def _average(name, outputs, path):
    dtype = outputs[0].dtype
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Output {name!r} of the model in {path!r} is of type {dtype}, which has no average. "
            "Save models that give probabilities or other floats."
        )
    # Half precision would round once more, and the sum of many may overflow.
    dtype = "float64" if dtype == "float64" else "float32"
    return keras.layers.Average(name=name, dtype=dtype)(list(outputs))


def _compile_like(ensemble, path, safe_mode):
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json")).get("compile_config")
    if not config:
        return
    if not set(config) <= set(inspect.signature(keras.Model.compile).parameters):
        warnings.warn(
            f"The ensemble is not compiled: the model in {path!r} has a `compile` of its own. "
            "Call `compile` on the ensemble.",
            stacklevel=3,
        )
        return
    ensemble.compile(**keras.saving.deserialize_keras_object(config, safe_mode=safe_mode))
    if ensemble.optimizer is not None:
        ensemble.optimizer.build(ensemble.trainable_variables)
