"""Evaluate a classifier or an ensemble: every row of a split once, from the files alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ferplus_keras.backend import hide_gpus, load_keras
from ferplus_keras.classifier import Classifier, alike, mean_probabilities, shares
from ferplus_keras.cluster import join, own_run, process_count
from ferplus_keras.config import EvaluateConfig
from ferplus_keras.data import cache
from ferplus_keras.data.dataset import DATASETS, NoRows, Source, Split, open_source
from ferplus_keras.emotions import usual_name
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.calibration import fit_temperature
from ferplus_keras.evaluation.page import write_report_page
from ferplus_keras.evaluation.plots import draw_confusion
from ferplus_keras.evaluation.probabilities import as_probabilities, named_columns, other_classes
from ferplus_keras.evaluation.report import format_report, write_predictions
from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.files import require_writable, sha256, write_json
from ferplus_keras.formats import find_format
from ferplus_keras.lazy import keras, pandas
from ferplus_keras.models.checkpoint import CheckpointInfo
from ferplus_keras.models.registry import MODELS
from ferplus_keras.provenance import versions
from ferplus_keras.run import (
    CONFUSION,
    PAGE,
    PREDICTIONS,
    REPORT,
    Run,
    find_checkpoint,
    require_place,
)


def evaluate(
    subject: EvaluateConfig | Classifier | keras.Model | str | Path | pandas.DataFrame | ArrayLike,
    split: Split | None = None,
) -> dict[str, Any]:
    """Evaluate a model, or its probabilities, on a split; or files as a configuration says.

    Args:
        subject: a Keras model whose outputs are `split.class_names` in their order; a classifier,
            a trained file or a run folder, whose classes are arranged by name; probabilities of
            the split's rows, (n, C), or a pandas table with a column for each class; or an
            `EvaluateConfig`, for `evaluate_files`.
        split: the labelled faces, as `load_split` returns them.

    Returns:
        The scores under the split's own label rule, as report.json has them of a split: fractions.

    Raises:
        UsageError: there is no split, or something else than a `Split`.
        InputError: model or probabilities do not suit the split.

    Example:
        >>> test = load_split("data", "test")  # doctest: +SKIP
        >>> evaluate("checkpoints/experiment_1", test)["accuracy"]  # doctest: +SKIP
        0.857
    """
    if isinstance(subject, EvaluateConfig):
        return evaluate_files(subject)
    if not isinstance(split, Split):
        raise UsageError("expected evaluate(model_or_probabilities, split); load_split returns one")
    if isinstance(subject, str | Path):
        subject = Classifier.open(subject)
    elif hasattr(subject, "predict_on_batch"):
        subject = Classifier.from_model(subject, split.class_names)
    if isinstance(subject, Classifier):
        found = shares(subject.arranged(split.class_names).probabilities(split.images))
    else:
        others = ()
        if columns := named_columns(getattr(subject, "columns", ())):
            wanted = [*map(usual_name, split.class_names)]
            if lacking := [name for name in wanted if name not in columns]:
                raise InputError(f"expected a column {lacking[0]}, found {', '.join(columns)}")
            _require_order(subject, columns, split)
            others = other_classes(columns, wanted)
            subject = subject[[columns[name] for name in (*wanted, *others)]]
        found = as_probabilities(subject, split.targets.shape, len(others))
    return Evaluation(split, found).scores()


def _require_order(table: pandas.DataFrame, columns: dict[str, Any], split: Split) -> None:
    """Refuse a table whose rows, paths or else index are in another order than the split's."""
    if "row" in columns:
        order, right = "row", [*table[columns["row"]]] == split.row_ids.tolist()
    elif "path" in columns and split.paths is not None:  # it may begin with its folder's
        given = ["/" + str(path).replace("\\", "/") for path in table[columns["path"]]]
        known = ["/" + path.replace("\\", "/") for path in split.paths]
        order, right = "path", [*map(str.endswith, given, known)] == [True] * len(known)
    else:  # of batches that were put together, each begins anew at 0
        index = pandas.Index(getattr(table, "index", [0]))
        order, right = "index", not index.is_unique or index.is_monotonic_increasing
    if not right:
        raise InputError(f"expected a table in the order of the split, by its {order}")


def evaluate_files(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate one or several networks as `config` says and write what came out.

    Writes report.json, report.html, predictions.csv and confusion_matrix.png beside the (first)
    checkpoint or into `output_dir`, and prints the scores as tables.

    Returns:
        The report: {"splits": {"validation": {…}, "test": {…}}, "model": …, …}, in fractions.

    Raises:
        UsageError: neither a checkpoint nor a run was named.
        InputError: a checkpoint or the data cannot be used, or do not belong together.
    """
    started = time.perf_counter()
    if config.num_gpus == 0:
        hide_gpus()
    named = config.checkpoint_path or (config.name and [Path(config.checkpoints_dir, config.name)])
    if not named:
        raise UsageError("expected --checkpoint_path FILE_OR_FOLDER … or --name RUN")
    require_place(named[0], config.output_dir, "--output_dir")
    paths = [find_checkpoint(path) for path in named]
    folder = Path(config.output_dir or paths[0].parent)
    require_writable(folder, "--output_dir")
    info = find_format(paths[0]).peek(paths[0])
    read = _open_data(config, info, paths[0]) if info else None  # before Keras is loaded
    with _devices(config, paths):
        members = [
            Classifier.open(path, model_name=config.model_name, image_size=config.image_size)
            for path in paths
        ]
    members[0].announce("evaluating")
    for member in members:
        name = member.info.model_name
        if config.model_name and config.model_name != name:
            raise InputError(f"{member.path} is a {name}, not a {config.model_name}")
    source, protocol = read or _open_data(config, members[0].info, paths[0])
    members = alike(members, source.class_names)
    splits, failures = {}, []
    for name in config.splits:
        try:
            splits[name] = split_by_rule(source, name, protocol["label_rule"])
        except NoRows as error:
            failures.append(error)
    if not splits:
        raise failures[0]
    for failure in failures:  # such as of own pictures that have no test split
        print(f"left out: {failure}", file=sys.stderr)

    if (size := config.batch_size) == "auto":
        size = _largest_batch(members)
        print(f"batch size {size} (--batch_size auto)", file=sys.stderr)

    def ask(rows: np.ndarray, name: str) -> list[np.ndarray]:
        images, several = cache.take(source.rows.images, rows), len(members) > 1
        return [
            shares(
                member.probabilities(
                    images,
                    batch_size=size,
                    tta=config.tta,
                    average=config.average,
                    name=f"{name} {number}/{len(members)}" if several else name,
                )
            )
            for number, member in enumerate(members, start=1)
        ]

    evaluations = {
        name: evaluate_split(source, name, by_rule, ask, config.average)
        for name, by_rule in splits.items()
    }
    report = make_report(
        protocol,
        [member.describe() for member in members],
        evaluations,
        backend=" + ".join(dict.fromkeys(map(_backend, members))),
        seconds=sum(member.seconds for member in members),
        trial=_trial(paths),
    )
    write_evaluation(report, evaluations, folder, started)
    return report


def write_evaluation(
    report: dict[str, Any], evaluations: dict[str, Evaluation], folder: Path, started: float
) -> None:
    """Write the four files of an evaluation that began at `started` (by `time.perf_counter`)."""
    with own_run(Run(folder)) as run, run.writing():
        folder = run.folder
        write_predictions(evaluations, folder / PREDICTIONS)
        report["evaluation_id"] = sha256(folder / PREDICTIONS)
        report["seconds"]["total"] = time.perf_counter() - started
        draw_confusion(report, folder / CONFUSION)
        write_report_page(report, evaluations, folder / PAGE)
        write_json(report, folder / REPORT)
    print(format_report(report))
    took, network = time.perf_counter() - started, report["seconds"]["network"]
    print(f"\n{PAGE}, {REPORT}, {PREDICTIONS}, {CONFUSION} are in {folder}\n{took:.0f} s", end="")
    print(f", {network / took:.0%} of it in the network" if network else "")


def _largest_batch(members: Sequence[Classifier]) -> int:
    if all(member.network for member in members):
        from ferplus_keras.training.devices import largest_batch, list_gpus

        if list_gpus():
            face = np.zeros((1, *members[0].face_shape), np.uint8)

            def attempt(size: int) -> None:
                for member in members:
                    np.asarray(member.run(face.repeat(size, 0)))

            return largest_batch(attempt, 4096)
    return 64


@contextmanager
def _devices(config: EvaluateConfig, paths: Sequence[Path]) -> Iterator[None]:
    """Be the context in which networks are opened so that devices and processes share batches."""
    exports = {form.runs_in for form in map(find_format, paths) if form.precisions}
    several = config.num_gpus > 1 or config.coordinator
    if not exports:
        join(config.coordinator, config.num_processes, config.process_id)
    elif several:
        raise UsageError(
            "several devices or processes evaluate .keras checkpoints (KERAS_BACKEND=jax), not "
            f"what runs in {', '.join(sorted(exports))}"
        )
    if not several and process_count() == 1:
        yield
        return
    load_keras(config.num_gpus)
    from ferplus_keras.training.devices import find_devices

    devices = find_devices(config.num_gpus)
    if devices is None:
        raise UsageError("evaluation on several GPUs needs KERAS_BACKEND=jax")
    keras.utils.set_random_seed(0)  # a network's first weights must be alike in all processes
    with devices.scope():
        yield


def _open_data(
    config: EvaluateConfig, info: CheckpointInfo, path: Path
) -> tuple[Source, dict[str, Any]]:
    """Read the data, as the flags and else the checkpoint say; return them and the protocol."""
    own_name = info.dataset_name if info.class_names else "FERPlus"  # an .hdf5 file knows neither
    dataset_name = config.dataset_name or own_name
    own = dataset_name == own_name
    label_set = DATASETS[dataset_name]
    rule = label_set.rule(config.label_rule or (info.evaluation_rule if own else "majority"))
    class_map = config.class_map or (info.class_map if own else None)
    run = Run(path.parent)
    reading = {"group": info.group} | run.reading() if own else {}
    source = open_source(
        config.data_dir or run.data_dir(),
        dataset_name,
        config.cache_dir,
        class_map=class_map,
        class_names=None if label_set.class_names else info.class_names or None,
        group=reading.get("group") if config.group is None else config.group,
        skip_unreadable=config.skip_unreadable or reading.get("skip_unreadable"),
        face_size=info.face_size,
        colour=info.colour,
    )
    protocol = protocol_of(source, rule.name, class_map)
    return source, protocol | {"tta": config.tta, "average": config.average}


def protocol_of(source: Source, rule: str, class_map: Sequence[str] | None) -> dict[str, Any]:
    """Return what a report says of data and label rule."""
    return {
        "dataset_name": source.label_set.name,
        "label_rule": rule,
        "class_map": class_map and list(class_map),
        "class_names": list(source.class_names),
        "data": source.rows.hashes,
        "tta": "none",
        "average": "probabilities",
    }


def split_by_rule(source: Source, name: str, main: str) -> dict[str, Split]:
    """Return one split under every label rule, `main` first; the others may keep no row."""
    found = {main: source.split(name, main)}
    for rule in source.label_set.rules:
        try:
            found[rule] = found.get(rule) or source.split(name, rule)
        except NoRows:
            found[rule] = found[main].take(np.arange(0))
    return found


def evaluate_split(
    source: Source,
    name: str,
    by_rule: dict[str, Split],
    ask: Callable[[np.ndarray, str], list[np.ndarray]],
    average: str = "probabilities",
) -> Evaluation:
    """Return the evaluation of a split; every row is predicted once, whichever rules keep it.

    `by_rule` is what `split_by_rule` returns. `ask` takes rows of the files, (n,) int, and the
    name of their split, and returns each member's probabilities, (n, C) float32.
    """
    every = np.unique(np.concatenate([split.row_ids for split in by_rule.values()]))
    answers = ask(every, name)
    mean = mean_probabilities(answers, average)
    others = {
        rule: Evaluation(split, mean[np.searchsorted(every, split.row_ids)])
        for rule, split in by_rule.items()
    }
    main = others.pop(next(iter(by_rule)))
    rows = np.searchsorted(every, main.split.row_ids)
    return replace(
        main,
        votes=source.votes(main.split.row_ids),
        rules=others,
        members=[Evaluation(main.split, answer[rows]) for answer in answers],
    )


def make_report(
    protocol: dict[str, Any],
    members: Sequence[dict[str, Any]],
    evaluations: dict[str, Evaluation],
    backend: str,
    seconds: float = 0.0,
    trial: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return report.json, without what is known only once the files are written.

    `members` are what `Classifier.describe` returns of each, `seconds` what their networks took.
    """
    temperature = None
    if found := evaluations.get("validation"):
        temperature = fit_temperature(found.labels, found.probabilities)
    report = {
        "splits": {name: found.scores(temperature) for name, found in evaluations.items()},
        **members[0],
        "model": " + ".join(of["model"] for of in members),
        **protocol,
        "temperature": temperature,
        "backend": backend,
        "versions": versions(),
        "seconds": {"network": seconds},
    }
    if trial:
        report["trial"] = trial
    if len(members) > 1:
        report["members"] = []
        for index, of in enumerate(members):
            splits = {name: found.members[index].summary() for name, found in evaluations.items()}
            report["members"].append(of | {"splits": splits})
    return report


def _trial(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the settings that make a run a trial, where any checkpoint's run has them."""
    trial: dict[str, Any] = {}
    for path in paths:
        settings = Run(path.parent).known_settings()  # a bare file has none
        for name in ("limit_train", "limit_validation"):
            if isinstance(limit := settings.get(name), int):
                trial[name] = min(limit, trial.get(name, limit))
        spec = MODELS.get(str(settings.get("model_name")))
        usual = spec.default_weights if spec else "none"
        # Weights that this project trained itself came of such runs.
        if usual not in ("none", "ferplus") and settings.get("weights") == "none":
            trial["weights"] = "none"
    return trial


def _backend(member: Classifier) -> str:
    if member.network:
        return keras.backend.backend()
    return member.path.suffix.removeprefix(".") or "saved_model"
