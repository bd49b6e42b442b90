"""Every setting once: its name, type, default and meaning. `arguments.py` reads them as flags."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferplus_keras.data.augment import PRESETS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.sampling import SAMPLINGS
from ferplus_keras.data.views import VIEWS
from ferplus_keras.data.votes import LABEL_RULES
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.optimizers import OPTIMIZERS
from ferplus_keras.training.schedules import POLICIES


def truth(text: str) -> bool:
    """Read true or false."""
    if text.casefold() in ("true", "yes", "1"):
        return True
    if text.casefold() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got '{text}'")


def _whole(at_least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {at_least}, got '{text}'"
            )
        return value

    return parse


def _real(
    low: float, high: float, *, low_open: bool = False, high_closed: bool = False
) -> Callable[[str], float]:
    bounds = f"{'above' if low_open else 'from'} {low:g}" + (
        f" and {'at most' if high_closed else 'below'} {high:g}" if high != float("inf") else ""
    )

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        fits = low < value if low_open else low <= value
        if not (fits and (value <= high if high_closed else value < high)):
            raise argparse.ArgumentTypeError(f"expected a number {bounds}, got '{text}'")
        return value

    return parse


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _position(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


INFINITY = float("inf")


def default_data_dir() -> str:
    """Return the data folder when none is given: $FERPLUS_DATA_DIR, else ./data."""
    return os.environ.get("FERPLUS_DATA_DIR", "data")


def _flag(
    group: str,
    default: Any,
    meaning: str,
    parse: Callable[[str], Any] = str,
    *,
    known: Collection[str] = (),
    many: bool = False,
) -> Any:
    """Return a dataclass field that is also a flag.

    `known` lists the accepted names (an unknown one is refused with the nearest spelling);
    `many` takes one or more values.
    """
    if known:
        meaning = f"{meaning.rstrip('.')}: {', '.join(known)}."
    how = "default_factory" if callable(default) else "default"
    return field(
        **{how: default},
        metadata={
            "group": group,
            "help": meaning,
            "parse": parse,
            "known": known,
            "many": many,
        },
    )


def _check(setting: dataclasses.Field, value: Any) -> None:
    known = setting.metadata["known"]
    if known and value not in known:
        raise unknown(f"--{setting.name}", value, known)
    try:
        setting.metadata["parse"](str(value))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--{setting.name}: {error}") from None


DATA, NETWORK, TRAINING, RUN = "data", "network", "training", "run"


@dataclass(frozen=True)
class Config:
    """Settings that are checked when they are made, from flags and from Python alike.

    Raises:
        UsageError: a name that is in no table, or a value out of range.
    """

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, list) or (value is not None and setting.metadata["many"]):
                value = (value,) if isinstance(value, str | float | int) else tuple(value)
                object.__setattr__(self, setting.name, value)
            for item in value if isinstance(value, tuple) else (value,):
                if item is not None:
                    _check(setting, item)


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of one training run, as `train.py` takes them and `config.yaml` keeps them."""

    data_dir: str = _flag(
        DATA,
        default_data_dir,
        "Folder with fer2013.csv (also .gz, .zip, fer2013.tar.gz, icml_face_data.csv) and "
        "fer2013new.csv, or with own pictures (docs/own_data.md). Default: $FERPLUS_DATA_DIR, "
        "else ./data.",
    )
    dataset_name: str = _flag(DATA, "FERPlus", "Data set", known=DATASETS)
    label_rule: str = _flag(
        DATA,
        "majority",
        "How ten votes become a label (FERPlus and FERPlus7; docs/label_rules.md)",
        known=LABEL_RULES,
    )
    cache_dir: str | None = _flag(
        DATA,
        None,
        "Where parsed pixels are kept. Default: $FERPLUS_CACHE_DIR, else ~/.cache/ferplus_keras.",
    )
    limit_train: int | None = _flag(
        DATA,
        None,
        "Train on this many rows only, drawn by --seed with class shares kept. For trials.",
        _whole(1),
    )
    class_map: tuple[str, ...] | None = _flag(
        DATA,
        None,
        "Merged or renamed classes, each NEW=OLD or NEW=OLD+OLD; classes that are not named are "
        "left out with their rows. Default: the data set's own classes.",
        many=True,
    )
    evaluation_rule: str | None = _flag(
        DATA,
        None,
        "Label rule of the validation and test rows. Default: the one that the label rule's "
        "authors evaluate with",
        known=LABEL_RULES,
    )
    drop_leaks: bool = _flag(
        DATA,
        False,
        "Leave out training rows whose pixels are those of a validation or test row.",
        truth,
    )
    exclude: str | None = _flag(
        DATA,
        None,
        "CSV file with a column `row` (row of fer2013.csv, or place in the sorted list of own "
        "pictures, from 0): rows left out of training.",
    )
    augmentation: str = _flag(DATA, "wtomin", "Augmentation preset", known=PRESETS)
    label_smoothing: float = _flag(
        DATA, 0.0, "Share of every target that goes to all classes alike.", _real(0, 1)
    )
    teacher: tuple[str, ...] | None = _flag(
        DATA,
        None,
        "Checkpoints or run folders whose mean answer becomes part of the training targets.",
        many=True,
    )
    teacher_weight: float | None = _flag(
        DATA,
        None,
        "The teachers' share of each target. Default: 0.5.",
        _real(0, 1, low_open=True, high_closed=True),
    )
    mixup: float = _flag(
        DATA, 0.0, "Mixup's alpha (Zhang et al. 2018), such as 0.2; 0 is off.", _real(0, INFINITY)
    )
    cutmix: float = _flag(
        DATA,
        0.0,
        "CutMix's alpha (Yun et al. 2019), such as 1; 0 is off. With --mixup too, each batch takes "
        "one of them.",
        _real(0, INFINITY),
    )
    sampling: str = _flag(DATA, "shuffled", "How an epoch's rows are drawn", known=SAMPLINGS)
    workers: int = _flag(DATA, 2, "Threads that prepare batches.", _whole(1))

    model_name: str = _flag(NETWORK, "ResNet50", "Network", known=MODELS)
    weights: str | None = _flag(
        NETWORK,
        None,
        "Starting weights: the name of published ones ('vggface2' or 'imagenet', looked for in "
        "$FERPLUS_WEIGHTS_DIR and ~/.keras/models, else downloaded), 'none' (random), or the path "
        "of an .h5, .hdf5, .keras or .weights.h5 file. Default: the network's published weights "
        "where there are any.",
    )
    checkpoint_path: str | None = _flag(
        NETWORK, None, "Start from this checkpoint, head included; the same as --weights PATH."
    )
    image_size: int | None = _flag(
        NETWORK,
        None,
        "Side in pixels to which faces are resized inside the network. Default: the network's "
        "own, such as 224.",
        _whole(8),
    )
    freeze_before: int | str = _flag(
        NETWORK,
        0,
        "Freeze the layers before this one: -51 counts from the end as layer_lists/ does, a "
        "positive N freezes the first N, a layer's name is the first to be trained, 0 freezes "
        "nothing.",
        _position,
    )
    dropout_rate: float | None = _flag(
        NETWORK,
        None,
        "Dropout before the last dense layer. Default: the network's own, such as 0.3.",
        _real(0, 1),
    )
    activation: str = _flag(
        NETWORK, "softmax", "Activation of the last dense layer", known=("softmax", "sigmoid")
    )

    nepochs: int = _flag(TRAINING, 50, "Epochs to train at most.", _whole(1))
    batch_size: int = _flag(TRAINING, 64, "Faces a batch.", _whole(1))
    optimizer: str = _flag(TRAINING, "Adam", "Optimiser", known=OPTIMIZERS)
    init_lr: float = _flag(
        TRAINING, 0.001, "Initial learning rate.", _real(0, INFINITY, low_open=True)
    )
    adam_b1: float = _flag(
        TRAINING, 0.5, "Adam's first-moment decay (the older project's 0.5).", _real(0, 1)
    )
    adam_b2: float = _flag(TRAINING, 0.999, "Adam's second-moment decay.", _real(0, 1))
    momentum: float = _flag(TRAINING, 0.9, "SGD's Nesterov momentum.", _real(0, 1))
    optimizer_args: tuple[str, ...] | None = _flag(
        TRAINING,
        None,
        "More arguments of the Keras optimiser, each NAME=VALUE, such as nesterov=false.",
        many=True,
    )
    weight_decay: float | None = _flag(
        TRAINING,
        None,
        "Decoupled weight decay of kernels; biases and normalisation are spared. Default: the "
        "optimiser's own, 0.004 for AdamW and Muon, else 0.",
        _real(0, INFINITY),
    )
    clip_norm: float = _flag(
        TRAINING,
        0.0,
        "Bound on the norm of all gradients together; 0 is off.",
        _real(0, INFINITY),
    )
    trunk_lr: float = _flag(
        TRAINING,
        1.0,
        "The backbone's learning rate, and with it its weight decay, as a share of the head's, "
        "such as 0.1.",
        _real(0, INFINITY, low_open=True),
    )
    ema: float = _flag(
        TRAINING,
        0.0,
        "Momentum of an exponential moving average of the weights, such as 0.999, which is then "
        "what is validated and saved; 0 is off.",
        _real(0, 1),
    )
    lr_policy: str = _flag(TRAINING, "plateau", "Learning-rate policy", known=POLICIES)
    lr_decay_epochs: int = _flag(
        TRAINING,
        10,
        "Epochs between decays (--lr_policy step) or of a cycle (cosine_restarts).",
        _whole(1),
    )
    lr_milestones: tuple[int, ...] = _flag(
        TRAINING,
        (100, 120),
        "Epochs after which --lr_policy piecewise decays.",
        _whole(1),
        many=True,
    )
    lr_factor: float | None = _flag(
        TRAINING,
        None,
        "What a decay multiplies the learning rate by. Default: 0.5 for plateau, else 0.1.",
        _real(0, 1, low_open=True),
    )
    lr_patience: int = _flag(
        TRAINING, 3, "Epochs without improvement before --lr_policy plateau decays.", _whole(1)
    )
    lr_monitor: str = _flag(
        TRAINING, "val_loss", "What plateau watches", known=("val_loss", "val_accuracy")
    )
    warmup_epochs: float = _flag(
        TRAINING,
        0.0,
        "Epochs in which the learning rate first rises from 0 (every policy but plateau).",
        _real(0, INFINITY),
    )
    stages: tuple[str, ...] | None = _flag(
        TRAINING,
        None,
        "Gradual unfreezing: stages in turn, each EPOCHS:FREEZE_BEFORE:INIT_LR, such as "
        "5:-3:0.01 10:conv5_1_1x1_reduce:0.001. Replaces --nepochs, --freeze_before, --init_lr.",
        many=True,
    )
    early_stopping: int = _flag(
        TRAINING,
        8,
        "Stop after this many epochs without better validation accuracy; 0 never stops.",
        _whole(0),
    )
    loss: str | None = _flag(
        TRAINING,
        None,
        "Loss by its Keras name, or 'multi_target'. Default: the label rule's own "
        "(categorical_crossentropy; multi_target for ms_multi_target).",
    )
    metrics: tuple[str, ...] = _flag(
        TRAINING, ("accuracy",), "Metrics logged, by their Keras names.", many=True
    )
    class_weights: tuple[float | str, ...] | None = _flag(
        TRAINING,
        None,
        "'wtomin' (the older project's eight numbers), 'balanced', 'none', or one number a class "
        "(docs/class_weights.md). Default: wtomin for FERPlus' eight classes under majority and "
        "--sampling shuffled, else none.",
        _number_or_name,
        many=True,
    )
    reg_func: str | None = _flag(
        TRAINING, None, "Weight penalty on the --reg_layers", known=("l1", "l2")
    )
    reg_rate: float = _flag(
        TRAINING,
        5e-4,
        "Strength of the weight penalty (the older project's 5e-4).",
        _real(0, INFINITY),
    )
    reg_layers: tuple[str, ...] | None = _flag(
        TRAINING, None, "Names of the layers penalised. Default: every trainable layer.", many=True
    )
    reg_bias: bool = _flag(TRAINING, False, "Penalise biases too.", truth)
    mixed_precision: str = _flag(
        TRAINING,
        "none",
        "Compute in half precision, weights stay float32",
        known=("none", "float16", "bfloat16"),
    )
    seed: int = _flag(TRAINING, 0, "Seed of weights, shuffling, crops and dropout.", _whole(0))

    name: str = _flag(RUN, "experiment_1", "Name of the run; its folder is CHECKPOINTS_DIR/NAME.")
    checkpoints_dir: str = _flag(RUN, "checkpoints", "Folder of all runs.")
    resume: bool = _flag(
        RUN,
        False,
        "Go on with the run NAME from its last finished epoch, under the settings it began with; "
        "--nepochs may be raised.",
        truth,
    )
    overwrite: bool = _flag(RUN, False, "Replace the run NAME if it exists.", truth)
    loggers: tuple[str, ...] = _flag(
        RUN,
        ("tensorboard",),
        "Loggers beside training.csv; 'none' for none",
        known=LOGGERS,
        many=True,
    )
    num_gpus: int = _flag(
        RUN,
        1,
        "GPUs to use: 0 stays on the CPU, 1 uses one if there is one, more share each batch "
        "(TensorFlow).",
        _whole(0),
    )

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.checkpoints_dir) / self.name


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Settings of one evaluation, as `test.py` takes them."""

    checkpoint_path: tuple[str, ...] | None = _flag(
        RUN,
        None,
        "A .keras file, a run folder (its model_max_acc.keras), or an .hdf5 file of the older "
        "project; several are judged as an ensemble. Default: the run NAME.",
        many=True,
    )
    average: str = _flag(
        RUN,
        "probabilities",
        "What members of an ensemble and views are averaged over",
        known=("probabilities", "logits"),
    )
    name: str | None = _flag(RUN, None, "Run to evaluate when --checkpoint_path is not given.")
    checkpoints_dir: str = _flag(RUN, "checkpoints", "Folder of all runs.")
    output_dir: str | None = _flag(
        RUN, None, "Where report and pictures go. Default: the checkpoint's folder."
    )
    batch_size: int = _flag(RUN, 64, "Faces a batch; does not change the result.", _whole(1))
    num_gpus: int = _flag(
        RUN, 1, "0 stays on the CPU; else one GPU is used if there is one.", _whole(0)
    )
    data_dir: str | None = _flag(
        DATA,
        None,
        "As for train.py. Default: the one the checkpoint's run was trained on (its config.yaml), "
        "else $FERPLUS_DATA_DIR, else ./data.",
    )
    dataset_name: str | None = _flag(
        DATA, None, "Data set. Default: the checkpoint's own", known=DATASETS
    )
    label_rule: str | None = _flag(
        DATA,
        None,
        "Label rule of the evaluation. Default: the one that chose the checkpoint",
        known=LABEL_RULES,
    )
    class_map: tuple[str, ...] | None = _flag(
        DATA, None, "As for train.py. Default: the checkpoint's own.", many=True
    )
    tta: str = _flag(
        RUN, "none", "Test-time augmentation: average the probabilities over views", known=VIEWS
    )
    splits: tuple[str, ...] = _flag(
        DATA,
        ("validation", "test"),
        "Splits to evaluate",
        known=("train", "validation", "test"),
        many=True,
    )
    cache_dir: str | None = _flag(DATA, None, "As for train.py.")
    model_name: str | None = _flag(
        NETWORK,
        None,
        "Network of an .hdf5 file when its layers do not tell; checked against a .keras file",
        known=MODELS,
    )
    image_size: int | None = _flag(
        NETWORK, None, "Input side of an .hdf5 file of the older project. Default: 224.", _whole(8)
    )


def to_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as YAML-ready values."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }
