"""Fine-tune a network: two CSV files and a configuration in, a run folder out.

Everything that can be refused is refused here, before Keras is loaded; `fit.py` does the work.
"""

from pathlib import Path

from ferplus_keras.backend import load_keras
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.dataset import format_label_counts, load_dataset
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.training.run_folder import check_run_folder


def train(config: TrainConfig) -> Path:
    """Train as `config` says.

    Args:
        config: settings of the run.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png, the three checkpoints,
        resume_state.npz and TensorBoard events under logs/.

    Raises:
        InputError: data, weights or run folder cannot be used; nothing of an earlier run is lost.
        KeyboardInterrupt: Ctrl-C; the state of the last finished epoch is on disk.

    Example:
        >>> train(TrainConfig(model_name="ResNet50", freeze_before=-51))  # doctest: +SKIP
    """
    check_run_folder(config)
    weights = _starting_weights(config)
    dataset = load_dataset(
        config.data_dir, config.dataset_name, config.label_rule, config.cache_dir
    )
    print(format_label_counts(dataset.counts), flush=True)

    load_keras()
    from ferplus_keras.training.fit import fit

    return fit(config, dataset, weights)


def _starting_weights(config: TrainConfig) -> str:
    """Return what the network starts from, checked as far as is quick."""
    weights = config.checkpoint_path or config.weights
    if config.checkpoint_path and config.weights != TrainConfig.weights:
        raise UsageError(
            f"--checkpoint_path {config.checkpoint_path} and --weights {config.weights} both say "
            "where to start: give one"
        )
    if weights not in ("vggface2", "none") and not Path(weights).is_file():
        raise InputError(f"no weights at {weights}: expected 'vggface2', 'none' or a file")
    return weights
