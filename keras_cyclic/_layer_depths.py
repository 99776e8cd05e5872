"""How far each layer of a model is from its output, counted in layers that have weights."""

import keras
from keras.src.models.functional import Functional


def layer_depths(model):
    """The depth of each layer with weights.

    The layers that reach the output without passing another layer with weights have depth 0.
    Where several ways lead to the output, the longest counts.

    Args:
        model: A built Sequential or functional model. Such models in it are looked into; any
            other layer counts as one, and so does a model of any other kind.

    Returns:
        A dict from layers, by their `id`, to pairs of the layer and its depth.
    """
    depths = {}
    _descend(model, 0, depths)
    return depths


def is_layered(model):
    """Whether a model is of a kind whose layers are known."""
    return isinstance(model, (keras.Sequential, Functional))


def _descend(layer, depth, depths):
    """Enters the depths of a layer whose output is at `depth`, and returns that of its input."""
    if isinstance(layer, keras.Sequential):
        for each in reversed(layer.layers):
            depth = _descend(each, depth, depths)
        return depth
    if isinstance(layer, Functional):
        return _descend_graph(layer, depth, depths)
    if not layer.weights:
        return depth
    known = depths.get(id(layer), (layer, 0))[1]
    depths[id(layer)] = (layer, max(depth, known))
    return depth + 1


def _descend_graph(model, depth, depths):
    outputs = {}
    deepest = depth
    # From the output to the input: all that a node feeds comes before it.
    for level in sorted(model._nodes_by_depth):
        for node in model._nodes_by_depth[level]:
            below = outputs.get(id(node), depth)
            operation = node.operation
            if isinstance(operation, keras.Layer):
                below = _descend(operation, below, depths)
            for parent in node.parent_nodes:
                outputs[id(parent)] = max(outputs.get(id(parent), depth), below)
            deepest = max(deepest, below)
    return deepest
