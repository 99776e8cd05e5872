"""One run of a range test, inside one `fit`."""

import contextlib
import itertools
import math
import warnings

import keras
import numpy as np

from keras_cyclic._fit import callback_list_that_called, fit_loop
from keras_cyclic._torch_modules import in_mode
from keras_cyclic._training_state import Attributes, TrainingState
from keras_cyclic._wrapped_optimizers import wrapped_optimizers
from keras_cyclic.callbacks._jax_steps import JaxSteps
from keras_cyclic.callbacks._recorded_steps import (
    CompiledSteps,
    SingleSteps,
    StepNotRecordable,
    TestedRates,
)
from keras_cyclic.range_test_result import RangeTestResult

_WATCHED = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_test_end",
    "on_train_end",
)


class RangeTestRun:
    """Takes over a model's training steps until the test is over, then puts all back.

    Args:
        model: The model, in a `fit` that begins.
        settings: The `LRRangeTest`, for its arguments.
        learning_rates: The rates to test, a NumPy array.
    """

    def __init__(self, model, settings, learning_rates):
        self._model = model
        self._settings = settings
        self._learning_rates = learning_rates
        self._losses = []
        self._judged = 0
        self._average = 0.0
        self._lowest = math.inf
        self._diverged = False
        self._is_over = False
        self._has_ended = False
        self._iterator = None
        self._steps = None
        self._callbacks = None
        self._progress = None
        if settings.verbose:
            self._progress = keras.utils.Progbar(
                settings.steps,
                verbose=settings.verbose,
                stateful_metrics=["learning_rate", self._loss_name],
            )
        self._steps_per_call = model.steps_per_execution
        self._state = TrainingState(model) if settings.restore else None
        self._functions = Attributes(
            model, ["train_step", "train_function", "test_function", "steps_per_execution"]
        )
        self._fit_attributes = Attributes(model, ["make_train_function", "stop_training"])
        self._rates = None
        with self.restored_on_error(is_in_loop=False):
            for optimizer in wrapped_optimizers(model.optimizer):
                # Only a built `MultiOptimizer` knows its optimizers.
                if hasattr(optimizer, "optimizers") and not optimizer.built:
                    optimizer.build(model.trainable_variables)
            self._rates = TestedRates(model.optimizer, learning_rates)
            self._take_over()
        self._watch_callbacks()

    @property
    def _loss_name(self):
        monitor = self._settings.monitor
        return f"val_{monitor}" if self._settings.validation else monitor

    @property
    def _validation(self):
        return self._settings.validation

    def _take_over(self):
        model = self._model
        model.test_function = None
        if keras.backend.backend() != "tensorflow":
            self._run_one_by_one(JaxSteps if keras.backend.backend() == "jax" else SingleSteps)
            return
        if model.distribute_strategy.num_replicas_in_sync > 1:
            self._take_single_steps("it is trained on several devices")
            return
        self._call_length = self._steps_per_call
        if self._validation is not None:
            self._call_length = math.gcd(self._steps_per_call, self._validation.every)
        self._steps = CompiledSteps(
            model, self._rates, self._settings.steps, self._settings.monitor, self._call_length
        )
        self._lend_functions()

    def _take_single_steps(self, reason):
        warnings.warn(
            f"The range test runs this model step by step, slower than `fit` does: {reason}.",
            stacklevel=2,
        )
        self._functions.restore()
        self._fit_attributes.restore()
        if self._state is not None:
            self._state.restore()
        self._model.test_function = None
        self._run_one_by_one(SingleSteps)

    def _run_one_by_one(self, kind):
        self._call_length = 1
        self._steps = kind(self._model, self._rates, self._settings.steps, self._settings.monitor)
        self._lend_functions()

    def _lend_functions(self):
        model = self._model

        def restore_before_next_fit(*args, **kwargs):
            # `fit` calls this before anything else: the last resort after a `fit` that ended
            # where no code of this test runs.
            self.end()
            model.make_train_function(*args, **kwargs)

        model.train_function = self._steps.train_function(self.run)
        model.make_train_function = restore_before_next_fit

    def run(self, iterator):
        """What `fit` calls in place of the model's train function."""
        with self.restored_on_error():
            self._iterator = iterator
            logs = None
            for _ in range(self._steps_per_call // self._call_length):
                try:
                    logs = self._run_call(iterator)
                except StopIteration:
                    if logs is None:
                        raise
                    break
                if self._is_over:
                    break
            return logs

    def _run_call(self, iterator):
        if self._validation is not None and self._steps.count % self._validation.every == 0:
            self._steps.write_variables()
            self._losses.append(self._validation.measure(self._model))
            self._steps.take_variables()
        try:
            logs = self._steps.run(iterator)
        except StepNotRecordable as error:
            self._take_single_steps(str(error))
            logs = self._steps.run(iterator)
        except StopIteration:
            if self._validation is not None and self._steps.count % self._validation.every == 0:
                self._losses.pop()
            raise
        if self._validation is None:
            self._losses += self._steps.losses(len(self._losses)).tolist()
        self._judge()
        if self._diverged or self._steps.count >= self._settings.steps:
            self.finish()
        return logs

    @property
    def _every(self):
        return 1 if self._validation is None else self._validation.every

    def _judge(self):
        """Looks at the new losses for the step at which the test must end."""
        smoothing = self._settings.smoothing
        while self._judged < len(self._losses) and not self._diverged:
            loss = self._losses[self._judged]
            self._judged += 1
            self._average = smoothing * self._average + (1 - smoothing) * loss
            average = self._average / (1 - smoothing**self._judged)
            margin = (self._settings.stop_factor - 1) * abs(self._lowest)
            self._diverged = not math.isfinite(loss) or average > self._lowest + margin
            self._lowest = min(self._lowest, average)
        del self._losses[self._judged :]
        if self._progress is not None:
            step = (self._judged - 1) * self._every
            shown = [("learning_rate", float(self._learning_rates[step]))]
            shown.append((self._loss_name, self._losses[-1]))
            done = min(self._judged * self._every, self._settings.steps)
            over = self._diverged or done == self._settings.steps
            self._progress.update(done, shown, finalize=over)

    def go_round(self, epochs):
        """Goes round the data until the test is over, once `fit` will give no more of it.

        Args:
            epochs: How often `fit` has gone round it.
        """
        if self._is_over:
            return
        # At the end of an epoch, `fit` has put PyTorch's own layers in the mode of evaluation.
        with self.restored_on_error(), in_mode(self._model, training=True):
            if self._steps.count == 0:
                raise ValueError("The data for the range test is empty.")
            whole_round = self._steps.count / epochs
            self._steps.take_variables()
            for number, calls in enumerate(self._rounds()):
                begin = self._steps.count
                with contextlib.suppress(StopIteration), warnings.catch_warnings():
                    # Of a generator at its end: the test has words of its own for it.
                    warnings.filterwarnings("ignore", message="Your input ran out of data")
                    for data in calls:
                        self.run(data)
                        if self._is_over:
                            return
                if number and self._steps.count - begin < whole_round:
                    break
            warnings.warn(
                f"The range test ends after {self._steps.count} of {self._settings.steps} "
                "steps: its data cannot be read once more. Give `fit` more `epochs`, "
                "or use `keras_cyclic.lr_range_test`, which keeps a generator's batches.",
                stacklevel=2,
            )
            self.finish()

    def _rounds(self):
        """What to call `run` with, for each round of the data; the first may have begun."""
        if keras.backend.backend() != "tensorflow":
            loop = fit_loop(lambda model: model is self._model)
            epoch_iterator = loop.variables["epoch_iterator"]
            while True:
                yield (data for _, _, data in epoch_iterator)
        yield itertools.repeat(self._iterator)
        dataset = getattr(self._iterator, "_dataset", None)
        while dataset is not None:
            yield itertools.repeat(iter(dataset))

    def finish(self):
        """Puts the values back and lets `fit` end, which still reads and writes some of them."""
        if self._is_over:
            return
        self._is_over = True
        self._settings.result = self._make_result()
        if self._steps is not None:
            self._steps.write_variables()
        self._functions.restore()
        if self._rates is not None:
            self._rates.restore()
        if self._state is not None:
            self._state.restore()
        self._model.stop_training = True

    def end(self):
        """Puts everything back, at any point of the run; a second time it does nothing."""
        if self._has_ended:
            return
        self.finish()
        self._has_ended = True
        if self._state is not None:
            # Once more: the end of `fit` overwrites the weights where the optimizer averages them.
            self._state.restore_for_good()
        self._fit_attributes.restore()
        for name in _WATCHED if self._callbacks is not None else ():
            vars(self._callbacks).pop(name, None)
        self._iterator = self._callbacks = self._state = self._steps = None

    @contextlib.contextmanager
    def restored_on_error(self, is_in_loop=True):
        """Puts everything back when an exception or an interrupt leaves the block.

        Args:
            is_in_loop: Whether the loop over the epochs runs, and not what `fit` does before or
                after it.
        """
        try:
            yield
        except StopIteration:
            raise
        except BaseException:
            steps = self._steps
            self.end()
            if steps is not None and is_in_loop and self._settings.restore:
                steps.keep_variables()
            raise

    def _make_result(self):
        losses = np.array(self._losses[: self._judged])
        rates = self._learning_rates[:: self._every][: len(losses)]
        return RangeTestResult(rates, losses, self._diverged, self._loss_name)

    def _watch_callbacks(self):
        """Restores the model, too, when another callback raises, of which Keras tells nobody."""
        self._callbacks, _ = callback_list_that_called()
        for name in _WATCHED if self._callbacks is not None else ():
            method = getattr(self._callbacks, name)
            setattr(self._callbacks, name, self._watched(method, name != "on_train_end"))

    def _watched(self, method, is_in_loop):
        def call(*args, **kwargs):
            with self.restored_on_error(is_in_loop):
                return method(*args, **kwargs)

        return call
