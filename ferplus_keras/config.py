"""Every setting of training and evaluation once: its name, type, default, range and meaning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ferplus_keras.arguments import Config, Number, as_settings, parse, setting
from ferplus_keras.classifier import AVERAGES
from ferplus_keras.data.augment import PRESETS, SAMPLINGS, VIEWS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import UsageError
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import Run, default_data_dir
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.optimizers import OPTIMIZERS
from ferplus_keras.training.schedules import MONITORS, POLICIES

DATA = ("data_dir", "dataset_name", "label_rule", "cache_dir", "group", "skip_unreadable")
"""Settings of the commands that look at data: `labels` and `audit`."""

Count = Annotated[int, Number(int, low=1)]
CountOrAuto = Annotated[int | str, Number(int, low=1, word="auto")]
Whole = Annotated[int, Number(int, low=0)]
Positive = Annotated[float, Number(float, above=0)]
NotNegative = Annotated[float, Number(float, low=0)]
Side = Annotated[int, Number(int, low=8)]
Fraction = Annotated[float, Number(float, low=0, below=1)]


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of one training run, as `train.py` takes them and `config.yaml` keeps them."""

    data_dir: str = setting(
        "Folder with fer2013.csv (also .gz, .zip, fer2013.tar.gz, icml_face_data.csv) and "
        "fer2013new.csv, or with your own pictures (docs/own_data.md). Default: "
        "$FERPLUS_DATA_DIR, else ./data.",
        default_data_dir,
        group="data",
    )
    dataset_name: str = setting("Data set", "FERPlus", known=DATASETS)
    label_rule: str = setting(
        "How ten votes become a label (FERPlus and FERPlus7; docs/label_rules.md)",
        "majority",
        known=LABEL_RULES,
    )
    face_size: Annotated[int, Number(int, low=8, high=1024)] | None = setting(
        "Side in pixels to which own pictures are resized when they are read (other data sets: "
        "48). Default: chosen from the pictures, --image_size at most."
    )
    colour: bool | None = setting(
        "Read own pictures as RGB instead of grey. Default: chosen from the pictures; false for "
        "networks that see grey levels."
    )
    cache_dir: str | None = setting(
        "Where parsed pixels are kept. Default: $FERPLUS_CACHE_DIR, else ~/.cache/ferplus_keras."
    )
    limit_train: Count | None = setting(
        "Train on this many rows only, drawn by --seed with class shares kept. For trials."
    )
    limit_validation: Count | None = setting("Validate on this many rows only, drawn likewise.")
    class_map: tuple[str, ...] | None = setting(
        "Merged or renamed classes, each NEW=OLD or NEW=OLD+OLD; classes that are not named are "
        "left out with their rows. Default: the data set's own classes."
    )
    evaluation_rule: str | None = setting(
        "Label rule of the validation and test rows. Default: the rule with which the authors "
        "of --label_rule evaluate",
        known=LABEL_RULES,
    )
    drop_leaks: bool = setting(
        "Leave out training rows whose pixels equal those of a validation or test row.", False
    )
    exclude: str | None = setting(
        "CSV file with a column `row` (row of fer2013.csv, or position in the sorted list of "
        "own pictures, from 0): rows left out of training."
    )
    group: str | None = setting(
        "Own pictures: a column of labels.csv, or a pattern of the file name such as '^S[0-9]+', "
        "whose pictures stay in one split, such as all of a person (docs/own_data.md)."
    )
    skip_unreadable: bool = setting(
        "Own pictures: leave out those that cannot be read, and list them.", False
    )
    augmentation: str = setting("Augmentation preset", "wtomin", known=PRESETS)
    label_smoothing: Fraction = setting(
        "Share of each target that is spread evenly over all classes.", 0.0
    )
    teacher: tuple[str, ...] | None = setting(
        "Trained models or run folders whose mean prediction becomes part of the training targets; "
        "'none' undoes those of a --config file, and their weight."
    )
    teacher_weight: Annotated[float, Number(float, above=0, high=1)] | None = setting(
        "The teachers' share of each target. Default: 0.5."
    )
    mixup: NotNegative = setting("Mixup's alpha (Zhang et al. 2018), such as 0.2; 0 is off.", 0.0)
    cutmix: NotNegative = setting(
        "CutMix's alpha (Yun et al. 2019), such as 1; 0 is off. With --mixup too, each batch "
        "uses one of them.",
        0.0,
    )
    sampling: str = setting("How the rows of an epoch are drawn", "shuffled", known=SAMPLINGS)
    workers: Whole | None = setting(
        "Threads that prepare batches ahead; 0 prepares each when it is needed. Default: 1 for "
        "small faces, which more threads prepare no faster; else one per processor core, at most 8."
    )

    model_name: str = setting("Network", "ResNet50", known=MODELS, group="network")
    weights: str | None = setting(
        "Starting weights: the name of published ones ('vggface2', 'imagenet', 'dlib' or, for "
        "FastFER, CompactFER and DlibResNet, 'ferplus', looked for in $FERPLUS_WEIGHTS_DIR and "
        "~/.keras/models, else downloaded or read from their package), 'none' (random), "
        "hf://USER/NAME of the Hugging Face Hub, or the path of a run folder or of an .h5, .hdf5, "
        ".keras, .weights.h5, .dat or .bin file. Default: the network's own where there are any."
    )
    checkpoint_path: str | None = setting(
        "Start from this checkpoint, head included; the same as --weights PATH."
    )
    image_size: Side | None = setting(
        "Side in pixels to which faces are resized inside the network. Default: the network's "
        "own, such as 224."
    )
    freeze_before: int | str = setting(
        "Freeze the layers before this one: -51 counts from the end as layer_lists/ does, a "
        "positive N freezes the first N, a layer's name is the first to be trained, 0 freezes "
        "nothing.",
        0,
    )
    dropout_rate: Fraction | None = setting(
        "Dropout before the last dense layer. Default: the network's own, such as 0.3."
    )
    activation: str = setting(
        "Activation of the last dense layer", "softmax", known=("softmax", "sigmoid")
    )

    nepochs: Count = setting("Maximum number of epochs.", 50, group="training")
    batch_size: CountOrAuto = setting(
        "Faces per batch; auto is the largest power of two that fits into memory.", 64
    )
    optimizer: str = setting("Optimiser", "Adam", known=OPTIMIZERS)
    init_lr: Positive = setting("Initial learning rate.", 0.001)
    adam_b1: Fraction = setting("Adam's first-moment decay (the older project's 0.5).", 0.5)
    adam_b2: Fraction = setting("Adam's second-moment decay.", 0.999)
    momentum: Fraction = setting("SGD's Nesterov momentum.", 0.9)
    optimizer_args: tuple[str, ...] | None = setting(
        "Further arguments of the Keras optimiser, each NAME=VALUE, such as nesterov=false."
    )
    weight_decay: NotNegative | None = setting(
        "Decoupled weight decay of kernels; biases and normalisation are excluded. Default: the "
        "optimiser's own, 0.004 for AdamW and Muon, else 0."
    )
    clip_norm: NotNegative = setting("Maximum norm of all gradients together; 0 is off.", 0.0)
    trunk_lr: Positive = setting(
        "The backbone's learning rate, and with it its weight decay, as a share of the head's, "
        "such as 0.1.",
        1.0,
    )
    ema: Fraction = setting(
        "Momentum of an exponential moving average of the weights, such as 0.999, which is then "
        "what is validated and saved; 0 is off.",
        0.0,
    )
    lr_policy: str = setting("Learning-rate policy", "plateau", known=POLICIES)
    lr_decay_epochs: Count = setting(
        "Epochs between decays (--lr_policy step) or per cycle (cosine_restarts).", 10
    )
    lr_milestones: tuple[Count, ...] = setting(
        "Epochs after which --lr_policy piecewise decays.", (100, 120)
    )
    lr_factor: Annotated[float, Number(float, above=0, below=1)] | None = setting(
        "Factor of the learning rate at each decay. Default: 0.5 for plateau, else 0.1."
    )
    lr_patience: Count = setting("Epochs without improvement before --lr_policy plateau decays.", 3)
    lr_monitor: str = setting("What plateau watches", "val_loss", known=MONITORS)
    warmup_epochs: NotNegative = setting(
        "Epochs in which the learning rate first rises from 0 (every policy but plateau).", 0.0
    )
    stages: tuple[str, ...] | None = setting(
        "Gradual unfreezing: stages in turn, each EPOCHS:FREEZE_BEFORE:INIT_LR, such as "
        "5:-3:0.01 10:conv5_1_1x1_reduce:0.001. Replaces --nepochs, --freeze_before, --init_lr."
    )
    early_stopping: Whole = setting(
        "Stop after this many epochs without better validation accuracy; 0 never stops.", 8
    )
    loss: str | None = setting(
        "Loss by its Keras name, or 'multi_target'. Default: that of the label rule's targets "
        "(categorical_crossentropy; multi_target for sets of right classes)."
    )
    metrics: tuple[str, ...] = setting("Metrics logged, by their Keras names.", ("accuracy",))
    class_weights: tuple[float | str, ...] | None = setting(
        "'wtomin' (the older project's eight numbers), 'balanced', 'none', or one number per "
        "class (docs/class_weights.md). Default: wtomin for FERPlus' eight classes under "
        "majority and --sampling shuffled, else none."
    )
    reg_func: str | None = setting("Weight penalty on the --reg_layers", known=("l1", "l2"))
    reg_rate: NotNegative = setting(
        "Strength of the weight penalty (the older project's 5e-4).", 5e-4
    )
    reg_layers: tuple[str, ...] | None = setting(
        "Names of the penalised layers. Default: every trainable layer."
    )
    reg_bias: bool = setting("Penalise biases too.", False)
    cache_features: Whole = setting(
        "Compute the frozen layers once for so many augmented copies of each face, keep what they "
        "give in --cache_dir while training, and train the others on that; 0 computes them in "
        "every step.",
        0,
    )
    mixed_precision: str = setting(
        "Compute in half precision, weights stay float32",
        "none",
        known=("none", "float16", "bfloat16"),
    )
    seed: Annotated[int, Number(int, low=0, high=2**32 - 1)] = setting(
        "Seed of weights, shuffling, crops and dropout.", 0
    )

    name: str = setting(
        "Name of the run; its folder is CHECKPOINTS_DIR/NAME. The last --config, if there is one, "
        "names it unless this does.",
        "experiment_1",
        group="run",
    )
    checkpoints_dir: str = setting("Folder of all runs.", "checkpoints")
    resume: bool = setting(
        "Continue the run NAME from its last finished epoch, under the settings it began with; "
        "--nepochs may be raised.",
        False,
    )
    overwrite: bool = setting("Replace the run NAME if it exists.", False)
    loggers: tuple[str, ...] = setting(
        "Loggers beside training.csv; 'none' for none", ("tensorboard",), known=LOGGERS
    )
    num_gpus: Whole = setting(
        "GPUs of this process: 0 stays on the CPU, 1 uses one if there is one, more share each "
        "batch (TensorFlow and JAX; JAX also counts virtual CPU devices, docs/clusters.md).",
        1,
    )
    coordinator: str | None = setting(
        "host:port of process 0, if several processes train together (JAX). Default: what Slurm, "
        "Open MPI or Kubernetes say."
    )
    num_processes: Count | None = setting("How many processes; 1 ignores what the cluster says.")
    process_id: Whole | None = setting("Number of this process, from 0.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in ("", ".", "..") or {*self.name} & {*"/\\"} or not self.name.isprintable():
            raise UsageError(f"--name: expected the name of a folder, got {self.name!r}")
        if self.teacher == ("none",):
            object.__setattr__(self, "teacher", None)
            object.__setattr__(self, "teacher_weight", None)

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.checkpoints_dir) / self.name


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Settings of one evaluation, as `test.py` takes them."""

    data_dir: str | None = setting(
        "As for train.py. Default: the one the checkpoint's run was trained on (its "
        "config.yaml) if it is there, else $FERPLUS_DATA_DIR, else ./data.",
        group="data",
    )
    dataset_name: str | None = setting("Data set. Default: the checkpoint's own", known=DATASETS)
    label_rule: str | None = setting(
        "Label rule of the evaluation. Default: the rule by which the checkpoint was selected",
        known=LABEL_RULES,
    )
    class_map: tuple[str, ...] | None = setting("As for train.py. Default: the checkpoint's own.")
    group: str | None = setting("As for train.py; '' for none. Default: the checkpoint's own.")
    skip_unreadable: bool = setting("As for train.py, and what the checkpoint's run did.", False)
    splits: tuple[str, ...] = setting(
        "Splits to evaluate", ("validation", "test"), known=tuple(SPLITS)
    )
    cache_dir: str | None = setting("As for train.py.")

    model_name: str | None = setting(
        "Network of an .hdf5 file that its layers do not identify; checked against a .keras file",
        known=MODELS,
        group="network",
    )
    image_size: Side | None = setting(
        "Input side of an .hdf5 file of the older project. Default: what the file records."
    )

    checkpoint_path: tuple[str, ...] | None = setting(
        "A trained model (.keras, .onnx, .tflite, .xml, SavedModel folder, .hdf5 of the older "
        "project) or a run folder (its model_max_acc.keras); several are evaluated as an "
        "ensemble. Default: the run NAME.",
        group="run",
    )
    average: str = setting(
        "What members of an ensemble and views are averaged over", "probabilities", known=AVERAGES
    )
    tta: str = setting(
        "Test-time augmentation: average the probabilities over views", "none", known=VIEWS
    )
    name: str | None = setting("Run to evaluate when --checkpoint_path is not given.")
    checkpoints_dir: str = setting("Folder of all runs.", "checkpoints")
    output_dir: str | None = setting(
        "Where report and pictures go. Default: the checkpoint's folder."
    )
    batch_size: CountOrAuto = setting("As for train.py; does not change the result.", 64)
    num_gpus: Whole = setting(
        "0 stays on the CPU; else one GPU is used if there is one. More share each batch (JAX).", 1
    )
    coordinator: str | None = setting("As for train.py.")
    num_processes: Count | None = setting("As for train.py.")
    process_id: Whole | None = setting("As for train.py.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.splits:
            raise UsageError(f"--splits: expected {' or '.join(SPLITS)}, got none")


def read_config(
    config_class: type,
    argv: Sequence[str],
    prog: str = "",
    description: str = "",
    defaults: Sequence[str] = (),
) -> TrainConfig | EvaluateConfig:
    """Return the configuration that a command line asks for.

    The command line wins over YAML files (`--config`), these over what a resumed run began with,
    and that over `defaults`. The name of a training comes from the command line or from that of
    its last YAML file, not from what a file says, so that no file can choose a run to replace.
    `prog` and `description` are for `--help`.

    Raises:
        UsageError: unknown flag or key, or a value of the wrong kind; nearest spelling named. A
            file names the run, resumes or overwrites, and the command line does not.
    """
    given = parse(config_class, argv, prog, description)
    files = [Path(path) for path in given.pop("config", [])]
    below, written = parse(config_class, defaults), {}
    if files and config_class is TrainConfig:
        below = {"name": files[-1].stem} | below
    for path in files:
        found = as_settings(config_class, path)
        for flag in ("name", "resume", "overwrite") if config_class is TrainConfig else ():
            if found.get(flag) and flag not in given:
                raise UsageError(
                    f"{path}: '{flag}: {found[flag]}' is for the command line only; leave it out, "
                    f"or give --{flag}"
                )
        written |= found
    if given.get("resume"):
        said = below | written | given  # the file may say where the folder was before
        names = ("name", "checkpoints_dir")
        found = config_class(**{key: said[key] for key in names if key in said})
        below |= Run(found.run_dir).began_with(config_class)
        below |= {key: getattr(found, key) for key in names}
    for one, other in (("weights", "checkpoint_path"), ("checkpoint_path", "weights")):
        if given.get(one):  # both say where to start
            written.pop(other, None)
    # `pretrain`, the command with defaults of its own, has no stages.
    idle = [flag for flag in ("nepochs", "freeze_before", "init_lr") if flag in given]
    if (written | given).get("stages") and idle and not defaults:
        raise UsageError(f"--{idle[0]} has no effect on stages: change --stages instead")
    return config_class(**below | written | given)
