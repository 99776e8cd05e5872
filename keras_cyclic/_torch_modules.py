"""What PyTorch's own layers hold besides Keras's variables."""

import contextlib

import keras


class TorchModules:
    """The buffers, such as running averages, the gradients and the modes of a model's modules.

    On other backends there are none.

    Args:
        model: The model.
    """

    def __init__(self, model):
        self._buffers, self._modes, self._gradients = [], [], []
        if keras.backend.backend() != "torch":
            return
        # A `Sequential` or functional model does not show its layers to PyTorch.
        modules = {id(each): each for layer in model._flatten_layers() for each in layer.modules()}
        for module in modules.values():
            self._modes.append((module, module.training))
            for name, buffer in module.named_buffers(recurse=False):
                self._buffers.append((module, name, buffer, _copied(buffer)))
        for variable in model.variables:
            self._gradients.append((variable.value, _copied(variable.value.grad)))

    def restore(self):
        """Puts the buffers back."""
        for module, name, buffer, value in self._buffers:
            buffer.detach().copy_(value)
            # A module may have put another tensor in its place.
            module._buffers[name] = buffer

    def restore_for_good(self):
        """Puts the buffers, the gradients and the modes back."""
        self.restore()
        for module, mode in self._modes:
            module.training = mode
        for parameter, gradient in self._gradients:
            parameter.grad = gradient


def _copied(tensor):
    return None if tensor is None else tensor.detach().clone()


@contextlib.contextmanager
def in_mode(model, training):
    """On PyTorch, puts a model in the mode of training or of evaluation while the block runs.

    Args:
        model: The model.
        training: Whether it is to be in the mode of training.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)
