"""The state of a run between two epochs, complete enough that resuming changes nothing.

Keras' own backup leaves out the dropout generators and the counters of the plateau schedule and
of early stopping; here every variable of model and optimiser is kept, and every counter.
"""

import json
from collections.abc import Sequence

import keras
import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.lazy import torch
from ferplus_keras.run import STATE, Run

COUNTERS = {
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    keras.callbacks.EarlyStopping: ("best", "wait", "best_epoch", "stopped_epoch"),
}
"""What Keras' callbacks remember from epoch to epoch. Ours name it themselves (`state_names`)."""

TORCH = "torch_generator_"


class SaveState(keras.callbacks.Callback):
    """Write the run's state after every epoch, and put a saved one back when training begins.

    Must be the last callback, so that it sees the others after they have seen the epoch, and so
    that what it restores is not reset by their `on_train_begin`.

    Args:
        run: the run, whose state it is.
        watched: callbacks whose counters are kept.
        restore: start from the saved state.
    """

    def __init__(
        self, run: Run, watched: Sequence[keras.callbacks.Callback], restore: bool
    ) -> None:
        super().__init__()
        self.run, self.restore = run, restore
        # By class and place, which tells whether a file was written by the same callbacks.
        self.watched = {f"{type(one).__name__} {i}": one for i, one in enumerate(watched)}

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        counters = {}
        for key, callback in self.watched.items():
            counters[key] = {name: getattr(callback, name) for name in _counters(callback)}
        stopped = bool(self.model.stop_training)
        header = {"epochs": epoch + 1, "stopped": stopped, "callbacks": counters}
        text = np.array(json.dumps(header, default=lambda scalar: scalar.item()))
        arrays = {k: keras.ops.convert_to_numpy(v) for k, v in _variables(self.model).items()}
        with replacing(self.run / STATE) as temporary, temporary.open("wb") as file:
            np.savez(file, header=text, **arrays, **_torch_generators())

    def on_train_begin(self, logs=None) -> None:
        """Put the saved state back into the model, its optimiser and the callbacks.

        Raises:
            InputError: the state belongs to another network, or was written by another version.
        """
        if not self.restore:
            return
        header, arrays = self.run.state()
        counters = header["callbacks"]
        generators = [arrays.pop(name) for name in list(arrays) if name.startswith(TORCH)]
        variables = _variables(self.model)
        expected = {name: tuple(variable.shape) for name, variable in variables.items()}
        found = {name: array.shape for name, array in arrays.items()}
        watched = {key: sorted(_counters(callback)) for key, callback in self.watched.items()}
        if expected != found or {k: sorted(of) for k, of in counters.items()} != watched:
            raise InputError(
                f"{self.run / STATE} belongs to another network, optimiser or version of "
                "ferplus_keras; nothing was loaded"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        _restore_torch_generators(generators)
        for key, values in counters.items():
            vars(self.watched[key]).update(values)


def _counters(callback: keras.callbacks.Callback) -> Sequence[str]:
    return COUNTERS.get(type(callback)) or callback.state_names


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return every variable of the model (dropout generators too) and of its optimiser.

    They are identified by their order: Keras counts up the names of optimisers within a process.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    found = [v for v in model.variables if id(v) not in metrics] + model.optimizer.variables
    return {f"variable_{i:04d}": variable for i, variable in enumerate(found)}


def _torch_generators() -> dict[str, np.ndarray]:
    """Return the states of Torch's generators, from which Keras' dropout draws on that backend."""
    if keras.backend.backend() != "torch":
        return {}
    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return {f"{TORCH}{index}": state.numpy() for index, state in enumerate(states)}


def _restore_torch_generators(states: Sequence[np.ndarray]) -> None:
    if keras.backend.backend() != "torch" or not states:
        return
    cpu, *gpus = map(torch.from_numpy, states)
    torch.set_rng_state(cpu)
    if len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)
