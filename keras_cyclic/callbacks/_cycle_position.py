"""Where a training stands in the cycles of its learning rate."""

import warnings

import keras

from keras_cyclic._config import describe
from keras_cyclic._readings import bring_up_to_date, steps_made
from keras_cyclic.hyperparameters import real_optimizers_of
from keras_cyclic.schedules.schedule import check_schedule, cycles_of


class CyclePosition:
    """The cycles of a model's learning rate, and the step that its training has reached.

    Steps are those that the schedule sees, the optimizer's `_iterations`: with
    `gradient_accumulation_steps` every micro-step counts.

    Args:
        model: A compiled model.
        caller: The name of the callback, for the error.
        schedule: The schedule whose cycles count. Defaults to the optimizer's own.

    Raises:
        ValueError: If the length of the cycles cannot be known, or the groups of a
            `MultiOptimizer` have different cycles.
    """

    def __init__(self, model, caller, schedule=None):
        self._model = model
        self._caller = caller
        optimizers = real_optimizers_of(model)
        self._schedule = schedule
        rates = [optimizer._learning_rate for optimizer in optimizers]
        rates = rates if schedule is None else [check_schedule("schedule", schedule)]
        found = [cycles_of(rate) for rate in rates]
        with_cycles = [i for i, cycles in enumerate(found) if cycles is not None]
        if not with_cycles:
            raise ValueError(
                f"{caller} waits for the ends of cycles, and cannot know them from this learning "
                "rate. Train with a schedule of `keras_cyclic.schedules` that has cycles "
                "(Cyclical, Triangular, Triangular2, ExpRange, CosineAnnealingWarmRestarts, "
                "OneCycle), or with Warmup, Sequential, Sampled or a multiple of one. Received: "
                f"learning_rate={', '.join(map(describe, rates))}"
            )
        self.cycles = found[with_cycles[0]]
        if any(found[i] != self.cycles for i in with_cycles):
            raise ValueError(
                f"{caller} needs all groups of a MultiOptimizer to have the same cycles. "
                f"Received: learning_rate={', '.join(map(describe, rates))}"
            )
        self._optimizer = optimizers[with_cycles[0]]
        self._epoch_start = self.step()

    def step(self):
        """The number of steps that the optimizer has made, a Python int."""
        bring_up_to_date(self._model)
        return steps_made(self._optimizer)

    def cycle(self):
        """The cycle that the next step is in, counted from 0."""
        return self.cycles.index(self.step())

    def begin_epoch(self):
        """To be called at the beginning of each epoch, before `has_reached`."""
        if self._schedule is None:
            # `fit_one_cycle` moves its cycle when a backup is loaded at the start of `fit`.
            self.cycles = cycles_of(self._optimizer._learning_rate) or self.cycles
        self._epoch_start = self.step()

    def warn_if_none_ends(self, params, epoch):
        """Warns if no cycle will end in the rest of a training.

        To be called once the step of the start is known, after a checkpoint was loaded.

        Args:
            params: The callback's `params`: of `fit`, its epochs and the batches of each.
            epoch: The epoch that begins.
        """
        epochs, steps_per_epoch = ((params or {}).get(name) for name in ("epochs", "steps"))
        # Another `train_step` may make any number of steps with a batch.
        is_keras_own = type(self._model).train_step is keras.Model.train_step
        if epochs is None or steps_per_epoch is None or not is_keras_own:
            return
        end = self.cycles.start(self.cycle() + 1)
        training_end = self._epoch_start + (epochs - epoch) * steps_per_epoch
        # Executions end where they end: what is saved at the nearest may come a little early.
        if end is not None and end > training_end + self._model.steps_per_execution:
            warnings.warn(
                f"{self._caller} waits for the end of a cycle, and this training has none: it goes "
                f"from step {self._epoch_start} to step {training_end}, and the cycle ends at step "
                f"{end}. Lengths of schedules are in optimizer steps: make the cycles shorter or "
                "train for more epochs.",
                stacklevel=3,
            )

    def has_reached(self, step, batch):
        """Whether the optimizer has made `step` steps, after batch number `batch` of the epoch.

        Reads the optimizer's counter only where it may have come so far: a LossScaleOptimizer
        leaves out steps, but none makes more steps than there are batches.
        """
        if step is None or self._epoch_start + batch + 1 < step:
            return False
        return self.step() >= step
