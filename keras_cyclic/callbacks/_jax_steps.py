"""A range test's training steps on JAX, where a step is a function of all that it changes."""

import keras

from keras_cyclic._fit import Fit
from keras_cyclic.callbacks._recorded_steps import SingleSteps, train_function

_PARTS = [f"{kind}_variables" for kind in ("trainable", "non_trainable", "optimizer", "metrics")]


class JaxSteps(SingleSteps):
    """Steps that are run one by one, their rates an argument of the compiled step.

    While `fit` runs, the values of the model's variables are in a state that goes from step to
    step, and the variables themselves have none. The metrics are reset inside the step.

    Arguments as for `SingleSteps`.
    """

    def _make_function(self):
        model = self._model
        is_own = type(model).make_train_function is not keras.Model.make_train_function
        if is_own or getattr(keras.config, "is_nnx_enabled", bool)():
            raise RuntimeError(
                "On JAX, the range test needs Keras's own `make_train_function`, without NNX: it "
                "gives the learning rate to the `train_step` that is compiled there. Received: "
                f"model of type {type(model).__name__}"
            )
        self._fit = Fit()
        self._train_step = model.train_step
        model.train_step = self._recorded_step
        return train_function(model, steps_per_execution=1)

    def _recorded_step(self, state, rates_and_batch):
        rates, batch = rates_and_batch
        with self._rates.replaced(rates):
            return self._train_step((*state[:3], self._reset_metrics(state[3])), batch)

    def _reset_metrics(self, values):
        variables = self._model.metrics_variables
        with keras.StatelessScope(state_mapping=list(zip(variables, values))) as scope:
            for metric in self._model.metrics:
                metric.reset_state()
        return [scope.get_current_value(variable) for variable in variables]

    def _run(self, iterator, index):
        batch = next(iterator)
        rates = self._rates.at(index)
        try:
            logs, state = self._function(self._state, iter([(rates, batch)]))
        except BaseException:
            if any(value.is_deleted() for value in keras.tree.flatten(self._state)):
                # The step had taken them for its own; nothing may write them to the variables.
                self._model._jax_state = None
            raise
        self._keep(state)
        return logs

    def _keep(self, state):
        self._state = state
        # Where Keras looks when a callback asks for the values.
        self._model._jax_state = dict(zip(_PARTS, state))
        self._model._jax_state_synced = False

    def train_function(self, run):
        def call(state, iterator):
            self._keep(state)
            logs = run(iterator)
            if self._model._jax_state_synced:
                return logs, self._model._get_jax_state(**dict.fromkeys(_PARTS, True))
            return logs, self._state

        return call

    def write_variables(self):
        self._model.jax_state_sync()

    def take_variables(self):
        purged = {**dict.fromkeys(_PARTS, True), "purge_model_variables": True}
        self._keep(self._model._get_jax_state(**purged))

    def keep_variables(self):
        optimizer, fit = self._model.optimizer, self._fit

        def keep(variables):
            del vars(optimizer)["finalize_variable_values"]
            if not fit.is_running():
                optimizer.finalize_variable_values(variables)

        # Which, on JAX, puts averaged weights in after an exception, too.
        vars(optimizer)["finalize_variable_values"] = keep
