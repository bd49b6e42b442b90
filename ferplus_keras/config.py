"""Every setting of training and evaluation once: its name, type, default, range and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ferplus_keras.arguments import Config, as_settings, parse, setting, to_plain
from ferplus_keras.data.augment import PRESETS, SAMPLINGS, VIEWS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import UsageError
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import CONFIG, Run, default_data_dir
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.optimizers import OPTIMIZERS
from ferplus_keras.training.schedules import POLICIES, spans_all_epochs

PLACES = frozenset(
    {"data_dir", "cache_dir", "checkpoints_dir", "name", "workers", "num_gpus", "loggers"}
    | {"resume", "overwrite"}
)
"""Settings that say where and with how many hands a run is made, not what comes out."""


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of one training run, as `train.py` takes them and `config.yaml` keeps them."""

    data_dir: str = setting(
        default_data_dir,
        "Folder with fer2013.csv (also .gz, .zip, fer2013.tar.gz, icml_face_data.csv) and "
        "fer2013new.csv, or with your own pictures (docs/own_data.md). Default: $FERPLUS_DATA_DIR, "
        "else ./data.",
        group="data",
    )
    dataset_name: str = setting("FERPlus", "Data set", known=DATASETS)
    label_rule: str = setting(
        "majority",
        "How ten votes become a label (FERPlus and FERPlus7; docs/label_rules.md)",
        known=LABEL_RULES,
    )
    cache_dir: str | None = setting(
        None,
        "Where parsed pixels are kept. Default: $FERPLUS_CACHE_DIR, else ~/.cache/ferplus_keras.",
    )
    limit_train: int | None = setting(
        None,
        "Train on this many rows only, drawn by --seed with class shares kept. For trials.",
        int,
        low=1,
    )
    class_map: tuple[str, ...] | None = setting(
        None,
        "Merged or renamed classes, each NEW=OLD or NEW=OLD+OLD; classes that are not named are "
        "left out with their rows. Default: the data set's own classes.",
        many=True,
    )
    evaluation_rule: str | None = setting(
        None,
        "Label rule of the validation and test rows. Default: the rule with which the authors of "
        "--label_rule evaluate",
        known=LABEL_RULES,
    )
    drop_leaks: bool = setting(
        False,
        "Leave out training rows whose pixels equal those of a validation or test row.",
        bool,
    )
    exclude: str | None = setting(
        None,
        "CSV file with a column `row` (row of fer2013.csv, or position in the sorted list of own "
        "pictures, from 0): rows left out of training.",
    )
    augmentation: str = setting("wtomin", "Augmentation preset", known=PRESETS)
    label_smoothing: float = setting(
        0.0, "Share of each target that is spread evenly over all classes.", float, low=0, below=1
    )
    teacher: tuple[str, ...] | None = setting(
        None,
        "Trained models or run folders whose mean prediction becomes part of the training targets.",
        many=True,
    )
    teacher_weight: float | None = setting(
        None, "The teachers' share of each target. Default: 0.5.", float, above=0, high=1
    )
    mixup: float = setting(
        0.0, "Mixup's alpha (Zhang et al. 2018), such as 0.2; 0 is off.", float, low=0
    )
    cutmix: float = setting(
        0.0,
        "CutMix's alpha (Yun et al. 2019), such as 1; 0 is off. With --mixup too, each batch uses "
        "one of them.",
        float,
        low=0,
    )
    sampling: str = setting("shuffled", "How the rows of an epoch are drawn", known=SAMPLINGS)
    workers: int = setting(2, "Threads that prepare batches.", int, low=1)

    model_name: str = setting("ResNet50", "Network", known=MODELS, group="network")
    weights: str | None = setting(
        None,
        "Starting weights: the name of published ones ('vggface2', 'imagenet' or 'dlib', looked "
        "for in $FERPLUS_WEIGHTS_DIR and ~/.keras/models, else downloaded or read from their "
        "package), 'none' (random), or the path of a run folder or of an .h5, .hdf5, .keras, "
        ".weights.h5, .dat or .bin file. Default: the network's published weights where there "
        "are any.",
    )
    checkpoint_path: str | None = setting(
        None, "Start from this checkpoint, head included; the same as --weights PATH."
    )
    image_size: int | None = setting(
        None,
        "Side in pixels to which faces are resized inside the network. Default: the network's "
        "own, such as 224.",
        int,
        low=8,
    )
    freeze_before: int | str = setting(
        0,
        "Freeze the layers before this one: -51 counts from the end as layer_lists/ does, a "
        "positive N freezes the first N, a layer's name is the first to be trained, 0 freezes "
        "nothing.",
        (int, str),
    )
    dropout_rate: float | None = setting(
        None,
        "Dropout before the last dense layer. Default: the network's own, such as 0.3.",
        float,
        low=0,
        below=1,
    )
    activation: str = setting(
        "softmax", "Activation of the last dense layer", known=("softmax", "sigmoid")
    )

    nepochs: int = setting(50, "Maximum number of epochs.", int, low=1, group="training")
    batch_size: int = setting(64, "Faces per batch.", int, low=1)
    optimizer: str = setting("Adam", "Optimiser", known=OPTIMIZERS)
    init_lr: float = setting(0.001, "Initial learning rate.", float, above=0)
    adam_b1: float = setting(
        0.5, "Adam's first-moment decay (the older project's 0.5).", float, low=0, below=1
    )
    adam_b2: float = setting(0.999, "Adam's second-moment decay.", float, low=0, below=1)
    momentum: float = setting(0.9, "SGD's Nesterov momentum.", float, low=0, below=1)
    optimizer_args: tuple[str, ...] | None = setting(
        None,
        "Further arguments of the Keras optimiser, each NAME=VALUE, such as nesterov=false.",
        many=True,
    )
    weight_decay: float | None = setting(
        None,
        "Decoupled weight decay of kernels; biases and normalisation are excluded. Default: the "
        "optimiser's own, 0.004 for AdamW and Muon, else 0.",
        float,
        low=0,
    )
    clip_norm: float = setting(
        0.0, "Maximum norm of all gradients together; 0 is off.", float, low=0
    )
    trunk_lr: float = setting(
        1.0,
        "The backbone's learning rate, and with it its weight decay, as a share of the head's, "
        "such as 0.1.",
        float,
        above=0,
    )
    ema: float = setting(
        0.0,
        "Momentum of an exponential moving average of the weights, such as 0.999, which is then "
        "what is validated and saved; 0 is off.",
        float,
        low=0,
        below=1,
    )
    lr_policy: str = setting("plateau", "Learning-rate policy", known=POLICIES)
    lr_decay_epochs: int = setting(
        10, "Epochs between decays (--lr_policy step) or per cycle (cosine_restarts).", int, low=1
    )
    lr_milestones: tuple[int, ...] = setting(
        (100, 120), "Epochs after which --lr_policy piecewise decays.", int, low=1, many=True
    )
    lr_factor: float | None = setting(
        None,
        "Factor of the learning rate at each decay. Default: 0.5 for plateau, else 0.1.",
        float,
        above=0,
        below=1,
    )
    lr_patience: int = setting(
        3, "Epochs without improvement before --lr_policy plateau decays.", int, low=1
    )
    lr_monitor: str = setting(
        "val_loss", "What plateau watches", known=("val_loss", "val_accuracy")
    )
    warmup_epochs: float = setting(
        0.0,
        "Epochs in which the learning rate first rises from 0 (every policy but plateau).",
        float,
        low=0,
    )
    stages: tuple[str, ...] | None = setting(
        None,
        "Gradual unfreezing: stages in turn, each EPOCHS:FREEZE_BEFORE:INIT_LR, such as "
        "5:-3:0.01 10:conv5_1_1x1_reduce:0.001. Replaces --nepochs, --freeze_before, --init_lr.",
        many=True,
    )
    early_stopping: int = setting(
        8,
        "Stop after this many epochs without better validation accuracy; 0 never stops.",
        int,
        low=0,
    )
    loss: str | None = setting(
        None,
        "Loss by its Keras name, or 'multi_target'. Default: that of the label rule's targets "
        "(categorical_crossentropy; multi_target for sets of right classes).",
    )
    metrics: tuple[str, ...] = setting(
        ("accuracy",), "Metrics logged, by their Keras names.", many=True
    )
    class_weights: tuple[float | str, ...] | None = setting(
        None,
        "'wtomin' (the older project's eight numbers), 'balanced', 'none', or one number per class "
        "(docs/class_weights.md). Default: wtomin for FERPlus' eight classes under majority and "
        "--sampling shuffled, else none.",
        (float, str),
        many=True,
    )
    reg_func: str | None = setting(None, "Weight penalty on the --reg_layers", known=("l1", "l2"))
    reg_rate: float = setting(
        5e-4, "Strength of the weight penalty (the older project's 5e-4).", float, low=0
    )
    reg_layers: tuple[str, ...] | None = setting(
        None, "Names of the penalised layers. Default: every trainable layer.", many=True
    )
    reg_bias: bool = setting(False, "Penalise biases too.", bool)
    mixed_precision: str = setting(
        "none",
        "Compute in half precision, weights stay float32",
        known=("none", "float16", "bfloat16"),
    )
    seed: int = setting(
        0, "Seed of weights, shuffling, crops and dropout.", int, low=0, high=2**32 - 1
    )

    name: str = setting(
        "experiment_1", "Name of the run; its folder is CHECKPOINTS_DIR/NAME.", group="run"
    )
    checkpoints_dir: str = setting("checkpoints", "Folder of all runs.")
    resume: bool = setting(
        False,
        "Continue the run NAME from its last finished epoch, under the settings it began with; "
        "--nepochs may be raised.",
        bool,
    )
    overwrite: bool = setting(False, "Replace the run NAME if it exists.", bool)
    loggers: tuple[str, ...] = setting(
        ("tensorboard",),
        "Loggers beside training.csv; 'none' for none",
        known=LOGGERS,
        many=True,
    )
    num_gpus: int = setting(
        1,
        "GPUs to use: 0 stays on the CPU, 1 uses one if there is one, more share each batch "
        "(TensorFlow).",
        int,
        low=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in ("", ".", "..") or {*self.name} & {*"/\\"} or not self.name.isprintable():
            raise UsageError(f"--name: expected the name of a folder, got {self.name!r}")

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.checkpoints_dir) / self.name


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Settings of one evaluation, as `test.py` takes them."""

    data_dir: str | None = setting(
        None,
        "As for train.py. Default: the one the checkpoint's run was trained on (its config.yaml), "
        "else $FERPLUS_DATA_DIR, else ./data.",
        group="data",
    )
    dataset_name: str | None = setting(
        None, "Data set. Default: the checkpoint's own", known=DATASETS
    )
    label_rule: str | None = setting(
        None,
        "Label rule of the evaluation. Default: the rule by which the checkpoint was selected",
        known=LABEL_RULES,
    )
    class_map: tuple[str, ...] | None = setting(
        None, "As for train.py. Default: the checkpoint's own.", many=True
    )
    splits: tuple[str, ...] = setting(
        ("validation", "test"), "Splits to evaluate", known=tuple(SPLITS), many=True
    )
    cache_dir: str | None = setting(None, "As for train.py.")

    model_name: str | None = setting(
        None,
        "Network of an .hdf5 file that its layers do not identify; checked against a .keras file",
        known=MODELS,
        group="network",
    )
    image_size: int | None = setting(
        None, "Input side of an .hdf5 file of the older project. Default: 224.", int, low=8
    )

    checkpoint_path: tuple[str, ...] | None = setting(
        None,
        "A trained model (.keras, .onnx, .tflite, .xml, SavedModel folder, .hdf5 of the older "
        "project) or a run folder (its model_max_acc.keras); several are evaluated as an ensemble. "
        "Default: the run NAME.",
        many=True,
        group="run",
    )
    average: str = setting(
        "probabilities",
        "What members of an ensemble and views are averaged over",
        known=("probabilities", "logits"),
    )
    tta: str = setting(
        "none", "Test-time augmentation: average the probabilities over views", known=VIEWS
    )
    name: str | None = setting(None, "Run to evaluate when --checkpoint_path is not given.")
    checkpoints_dir: str = setting("checkpoints", "Folder of all runs.")
    output_dir: str | None = setting(
        None, "Where report and pictures go. Default: the checkpoint's folder."
    )
    batch_size: int = setting(64, "Faces per batch; does not change the result.", int, low=1)
    num_gpus: int = setting(
        1, "0 stays on the CPU; else one GPU is used if there is one.", int, low=0
    )


def read_config(
    config_class: type,
    argv: Sequence[str],
    prog: str,
    description: str = "",
    defaults: Sequence[str] = (),
) -> TrainConfig | EvaluateConfig:
    """Return the configuration that a command line asks for.

    The command line wins over YAML files (`--config`), these over what a resumed run began with,
    and that over `defaults`.

    Args:
        config_class: `TrainConfig` or `EvaluateConfig`.
        argv: arguments without the program's name.
        prog: program name for `--help`.
        description: first lines of `--help`.
        defaults: flags that hold where nothing else says otherwise.

    Raises:
        UsageError: unknown flag or key, or a value of the wrong kind; nearest spelling named.
    """
    given = parse(config_class, argv, prog, description)
    files = given.pop("config", [])
    below = parse(config_class, defaults, prog)
    if given.get("resume"):
        own = {key: given[key] for key in ("name", "checkpoints_dir") if key in given}
        run_file = config_class(**own).run_dir / CONFIG
        if not run_file.is_file():
            raise UsageError(f"nothing to resume: no {run_file}; start the run without --resume")
        below |= as_settings(config_class, run_file)
    for path in files:
        below |= as_settings(config_class, Path(path))
    config = config_class(**below | given)
    if given.get("resume"):
        _refuse_changes(config)
    return config


def _refuse_changes(config: TrainConfig) -> None:
    """Refuse what would change what a resumed run computes."""
    saved = Run(config.run_dir).settings()
    before = to_plain(TrainConfig()) | saved  # a setting that came later had its default
    free = PLACES if config.stages or spans_all_epochs(config.lr_policy) else PLACES | {"nepochs"}
    for key, value in to_plain(config).items():
        if key not in free and before[key] != value:
            raise UsageError(
                f"--resume keeps the settings of the run: --{key} was {before[key]}, got {value}; "
                "leave it out, or start a new run with another --name"
            )
