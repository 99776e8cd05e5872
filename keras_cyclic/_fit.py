"""One run of `model.fit`, seen from inside, and whether it is still going on."""

import dataclasses
import sys
import threading
import weakref

import keras


def callback_list_that_called():
    """The `CallbackList` of the `fit` that runs now, and the code of the loop that holds it.

    Keras gives a callback no way to ask for it.

    Returns:
        A pair, `(None, None)` where no `CallbackList` is on this thread's stack.
    """
    for frame in _frames_from(sys._getframe(1)):
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and frame.f_back is not None:
            return caller, frame.f_back.f_code
    return None, None


def callback_list_with(callback):
    """The `CallbackList` of the `fit` that runs now, if it holds the callback, else None."""
    callbacks, _ = callback_list_that_called()
    return callbacks if callbacks is not None and callback in callbacks.callbacks else None


def caller_of_type(kind):
    """The nearest object of a class, on this thread's stack, that one of its methods runs of."""
    callers = (frame.f_locals.get("self") for frame in _frames_from(sys._getframe(1)))
    return next((caller for caller in callers if isinstance(caller, kind)), None)


@dataclasses.dataclass(frozen=True)
class FitLoop:
    """The loop of the `fit` that runs now, seen from what it has called.

    Attributes:
        variables: Its local variables, a dict.
        callees: The objects whose methods run between it and the code that looks, nearest first.
        line: Where `fit` was called, a pair: a file's name and the number of a line.
    """

    variables: dict
    callees: list
    line: tuple


def fit_loop(is_trained):
    """The `FitLoop` of the `fit` that runs now, or None.

    Args:
        is_trained: A function of a model. `tf.distribute` makes the steps of its replicas in
            threads of their own, and the loop is then the one that trains such a model.
    """
    callees = []
    for frame in _frames_from(sys._getframe(1)):
        if _is_loop(frame.f_locals):
            return FitLoop(frame.f_locals, callees, _line_outside_keras(frame))
        if frame.f_locals.get("self") is not None:
            callees.append(frame.f_locals["self"])
    if threading.current_thread() is threading.main_thread():
        return None
    for frame in _frames_of_all_threads():
        if _is_loop(frame.f_locals) and is_trained(frame.f_locals.get("self")):
            return FitLoop(frame.f_locals, callees, _line_outside_keras(frame))
    return None


def _is_loop(variables):
    callbacks = variables.get("callbacks")
    return "epochs" in variables and isinstance(callbacks, keras.callbacks.CallbackList)


def _line_outside_keras(frame):
    for caller in _frames_from(frame):
        if caller.f_globals.get("__name__", "").partition(".")[0] != "keras":
            return caller.f_code.co_filename, caller.f_lineno
    return frame.f_code.co_filename, frame.f_lineno


class Fit:
    """The `fit` that the code which makes this object runs in.

    Keras calls no callback when an exception or an interrupt ends `fit`. What shows that it is
    over is that its loop is on no thread's stack any more: the loop holds its `CallbackList` in
    a local variable, and there is one `CallbackList` for each `fit`.

    Made from a callback's `on_train_begin`. Where no `CallbackList` called that method, as in a
    hand-written loop, the training counts as going on until the callback is told that it ended.
    """

    def __init__(self):
        callbacks, loop = callback_list_that_called()
        # A weak reference: an interrupted `fit` must not keep its data alive.
        self._callbacks = None if callbacks is None else weakref.ref(callbacks)
        self._loop = loop

    def is_running(self):
        """Whether the loop is still on the stack of some thread."""
        if self._callbacks is None:
            return True
        callbacks = self._callbacks()
        return callbacks is not None and any(
            frame.f_code is self._loop
            and any(value is callbacks for value in frame.f_locals.values())
            for frame in _frames_of_all_threads()
        )


def _frames_of_all_threads():
    for frame in list(sys._current_frames().values()):
        yield from _frames_from(frame)


def _frames_from(frame):
    """A frame of a stack and those of its callers."""
    while frame is not None:
        yield frame
        frame = frame.f_back
