"""The optimizer's step in a TensorFlow graph, read once between two writes."""

import keras


def read_once(step):
    """The value of `step`, the same tensor wherever the graph asks for it until it is written to.

    Optimizers ask for the learning rate once more for every variable that decays. TensorFlow
    merges what is computed twice from one tensor, but never two reads of one variable.

    Args:
        step: A tensor, or a variable of Keras or TensorFlow.

    Returns:
        A tensor, or `step` itself where there is no graph or it is no plain variable.
    """
    import tensorflow as tf

    step = step.value if isinstance(step, keras.Variable) else step
    if tf.executing_eagerly() or not isinstance(step, tf.Variable):
        return step
    graph = tf.compat.v1.get_default_graph()
    # A variable on several devices has a handle for each of them.
    if isinstance(step, tf.distribute.DistributedValues) or not hasattr(graph, "capture"):
        return step
    handle = graph.capture(step.handle)
    # Whatever takes the handle may write to it: an assignment, a loop, the call of a function.
    uses = [use for use in handle.consumers() if use.type != "ReadVariableOp"]
    reads = graph.get_collection_ref("keras_cyclic_steps")
    for of_handle, before_uses, value in reads:
        if of_handle is handle and before_uses == len(uses):
            return value
    value = step.read_value()
    reads.append((handle, len(uses), value))
    return value
