"""Fine-tune a network: a configuration in, a run folder out."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from contextlib import closing, nullcontext, suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.arguments import to_plain
from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.cluster import join, own_run
from ferplus_keras.data.cache import cache_folder
from ferplus_keras.data.counts import format_label_counts
from ferplus_keras.data.dataset import Dataset
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.extras import require
from ferplus_keras.hardware import hardware
from ferplus_keras.lazy import keras
from ferplus_keras.models.checkpoint import save_checkpoint
from ferplus_keras.provenance import source_commit, versions
from ferplus_keras.run import CURVES, FINAL, MAX_ACCURACY, MIN_LOSS, MOVABLE, RECORD, STATE, Run
from ferplus_keras.training.distillation import describe_teachers
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.schedules import Plan, plan_stages, spans_all_epochs, waiting
from ferplus_keras.training.settle import check_targets, read_dataset, resolve, starting_weights

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig
    from ferplus_keras.models.freeze import Boundary
    from ferplus_keras.training.prepare import Prepared


def train(config: TrainConfig) -> Path:
    """Train as `config` says.

    What can be refused is refused before Keras is loaded. A run that was stopped, even after its
    last epoch, is brought to its end by `resume`.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png, the three checkpoints,
        resume_state.npz and TensorBoard events under logs/.

    Raises:
        UsageError: settings that do not go together.
        InputError: data, weights or run folder cannot be used; nothing of an earlier run is lost.
        KeyboardInterrupt: Ctrl-C; the state of the last finished epoch is on disk.

    Example:
        >>> train(TrainConfig(model_name="ResNet50", freeze_before=-51))  # doctest: +SKIP
    """
    config = resolve(_resumed(config) if config.resume and not config.overwrite else config)
    stages = plan_stages(config)
    if "wandb" in config.loggers:
        require(("wandb",), "--loggers wandb", "wandb")
    check_targets(config)
    if config.cache_features and (config.stages or config.num_gpus > 1):
        raise UsageError("--cache_features needs one --freeze_before, not --stages, and one GPU")
    run = Run(config.run_dir)
    run.require_usable(resume=config.resume, overwrite=config.overwrite)
    # A resumed run gets every weight from its state, but those whose results are cached.
    resumed = config.resume and (run / STATE).is_file() and not config.cache_features
    weights = "none" if resumed else starting_weights(config)
    choose_backend(config.num_gpus)
    join(config.coordinator, config.num_processes, config.process_id)
    with own_run(run) as run, run.writing():
        dataset, config = read_dataset(config)
        print(format_label_counts(dataset.counts), flush=True)
        finished, ended_early = _finished_epochs(config, run, dataset, stages)

        load_keras()
        from ferplus_keras.models.freeze import freeze_before
        from ferplus_keras.training import callbacks as hooks
        from ferplus_keras.training.features import cached, cut_network
        from ferplus_keras.training.prepare import checkpoint_info, compile_stage, prepare
        from ferplus_keras.training.state import SaveState

        prepared = prepare(config, dataset, weights)
        model, batches = prepared.model, prepared.batches
        for stage in stages:  # a boundary that does not exist is refused now
            freeze_before(model, stage.freeze_before)
        found = {"data_dir": os.path.abspath(config.data_dir), "batch_size": batches.batch_size}
        settings = to_plain(config) | found
        loaded = finished and prepared.loaded  # for the frozen layers, which the state lacks
        if loaded and _digests([run.record().get("weights")]) != [loaded.sha256]:
            raise InputError(
                f"--resume: the weights in {loaded.path} are not the ones that {run.folder} "
                f"began with (SHA-256 in {RECORD})"
            )
        if finished:
            print(f"resuming {run.folder} after epoch {finished}")
            _remark_changes(run.record())

        def go_on(logs=None) -> None:
            run.write_settings(settings)
            record = run.record()
            record.pop("best", None)  # a finished run that goes on has not ended
            run.write_record(record)

        going_on = keras.callbacks.LambdaCallback(on_train_begin=go_on if finished else None)
        info = checkpoint_info(config, dataset)
        ends = list(accumulate(stage.epochs for stage in stages))
        history = hooks.History(run)
        progress = hooks.Progress(batches, prepared.validation, ends[-1])
        saving = [
            hooks.SaveBest(run / MAX_ACCURACY, "val_accuracy", info, model),
            hooks.SaveBest(run / MIN_LOSS, "val_loss", info, model),
        ]
        begun = bool(finished)
        named = config.loggers if run.folder == config.run_dir else ()  # one process logs
        logging = [logger for name in named for logger in LOGGERS[name](run, settings)]
        try:
            with hooks.Interruptible() as interruptible, closing(progress):
                for stage, begin, end in zip(stages, [0, *ends], ends, strict=False):
                    if end < finished:
                        continue
                    boundary = compile_stage(config, prepared, stage)
                    network, data = model, nullcontext((batches, prepared.validation))
                    if copies := config.cache_features:
                        frozen, network = cut_network(prepared, boundary)
                        data = cached(prepared, frozen, copies, cache_folder(config.cache_dir))
                    if stage is stages[0] and not finished:
                        if boundary.frozen_layers and not prepared.loaded:
                            print(
                                f"warning: {boundary.frozen_layers} layers stay frozen at random "
                                "weights (--weights none with --freeze_before)",
                                file=sys.stderr,
                            )
                        if config.overwrite:
                            run.clear()
                        run.write_settings(settings)
                        run.write_record(first_record(config, dataset, prepared, boundary))
                        begun = True
                    average = [hooks.AverageWeights()] if config.ema else []
                    watched = [progress, *waiting(stage), *saving, history]
                    if patience := stage.early_stopping:
                        watched.append(
                            keras.callbacks.EarlyStopping("val_accuracy", 0, patience, mode="max")
                        )
                    state = SaveState(run, watched, restore=begin < finished)
                    if finished == end or ended_early:  # a complete stage only hands its weights on
                        state.set_model(network)
                        state.on_train_begin()
                        go_on()
                        # As the end of `fit` does: a moving average becomes the weights.
                        model.optimizer.finalize_variable_values(model.trainable_variables)
                        continue
                    with data as (training, validation):
                        network.fit(
                            training,
                            validation_data=validation,
                            epochs=end,
                            initial_epoch=max(begin, finished),
                            # In the order in which they must see the end of an epoch.
                            callbacks=[
                                interruptible,
                                hooks.SetEpoch(training),
                                hooks.StopOnNaN(),
                                *average,
                                *watched,
                                *logging,
                                *(one.put_back() for one in average),
                                state,
                                going_on,  # the state is known to fit
                            ],
                            shuffle=False,  # by the seed; Keras, by Python's generator
                            verbose=0,
                        )
        except KeyboardInterrupt:
            words = ["--checkpoints_dir", config.checkpoints_dir, "--name", config.name]
            said = f"\nstopped; finished epochs: {len(history.rows)}"
            if begun:
                said += f"; continue: python -m ferplus_keras train {shlex.join(words)} --resume"
            print(said, file=sys.stderr)
            history.draw()
            raise
        if len(history.rows) < ends[-1]:
            why = f"{config.early_stopping} epochs without better validation accuracy"
            print(f"stopped early: {why} (--early_stopping)")
        _finish(run, model, info, history, progress)
    return config.run_dir


def _resumed(config: TrainConfig) -> TrainConfig:
    """Return the configuration with what is None as it was when the run began; refuse changes."""
    # A setting that came later had its default.
    before = type(config)(**Run(config.run_dir).began_with(type(config)))
    given, was = to_plain(config), to_plain(before)
    kept = {key: value for key, value in was.items() if given[key] is None}
    if config.batch_size == "auto":
        kept["batch_size"] = was["batch_size"]
    config = dataclasses.replace(config, **kept)
    free = MOVABLE
    if not (config.stages or spans_all_epochs(config.lr_policy)):
        free |= {"nepochs"}
    for key, value in to_plain(config).items():
        if key not in free and value != was[key]:
            raise UsageError(
                f"--resume keeps the settings of the run: --{key} was {was[key]}, got {value}; "
                "leave it out (from Python: give what it was), or start a run with another --name"
            )
    return config


def first_record(
    config: TrainConfig, dataset: Dataset, prepared: Prepared, boundary: Boundary
) -> dict[str, Any]:
    """Return run.json as it is when training begins."""
    weights, loaded = prepared.batches.class_weights, prepared.loaded
    return {
        "commit": source_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "backend": keras.backend.backend(),
        "seed": config.seed,
        "data": dataset.hashes,
        "label_counts": dataset.counts,
        "train_rows": prepared.batches.rows,
        "class_weights": None if weights is None else weights.tolist(),
        "teachers": describe_teachers(config.teacher),
        "weights": loaded and {"path": str(loaded.path), "sha256": loaded.sha256},
        "freeze_before": boundary._asdict(),
    }


def _finished_epochs(
    config: TrainConfig, run: Run, dataset: Dataset, stages: list[Plan]
) -> tuple[int, bool]:
    """Return how many epochs a run has finished, and whether that was all; refuse one complete."""
    if not config.resume or not (run / STATE).is_file():
        return 0, False
    (header, _), planned = run.state(), sum(stage.epochs for stage in stages)
    epochs, stopped = header["epochs"], header["stopped"]
    if run.is_trained and (stopped or epochs >= planned):
        why = "raise --nepochs to continue"
        if stopped:
            why = "early stopping ended it"
        elif config.stages or spans_all_epochs(config.lr_policy):
            why = (
                "its learning rate was planned to the end; start another with "
                f"--weights {run.folder / FINAL}"
            )
        raise InputError(f"{run.folder} is complete after {epochs} epochs: {why}")
    if epochs > planned:
        raise UsageError(
            f"--nepochs {planned}: {run.folder} has finished {epochs} epochs already; "
            f"--nepochs {epochs} ends it there"
        )
    record = run.record()
    for which, then, now in (
        (f"files in {config.data_dir}", record.get("data"), dataset.hashes),
        ("teachers", record.get("teachers", []), describe_teachers(config.teacher)),
    ):
        if then is None or _digests(then) != _digests(now):
            raise InputError(
                f"--resume: the {which} are not the ones that {run.folder} began with (SHA-256 in "
                f"{RECORD}); start another run with --weights {run.folder}"
            )
    return epochs, stopped


def _digests(files: Any) -> list[str] | None:
    """Return the hashes of files, whatever they are called by now; None for no list of files."""
    with suppress(TypeError, KeyError):
        named = isinstance(files, dict)
        return sorted(files.values() if named else [file["sha256"] for file in files])
    return None


def _remark_changes(record: dict[str, Any]) -> None:
    """Say that a resumed run has another backend or number of cores: sums may round otherwise."""
    before = record.get("hardware")
    cores = before.get("cores") if isinstance(before, dict) else None
    for what, then, now in (
        ("backend", record.get("backend"), keras.backend.backend()),
        ("number of cores", cores, hardware()["cores"]),
    ):
        if then not in (None, now):
            print(
                f"note: the {what} was {then} when this run began and is {now} now; its numbers "
                "may differ from those of an unbroken run",
                file=sys.stderr,
            )


def _finish(run: Run, model: keras.Model, info: Any, history: Any, progress: Any) -> None:
    """Save the last model, complete run.json and say where everything is."""
    save_checkpoint(model, run / FINAL, dataclasses.replace(info, epoch=len(history.rows)))
    history.draw()
    best = max(history.rows, key=lambda row: row["val_accuracy"])
    run.write_record(run.record() | progress.record() | {"best": best})
    print(
        f"best validation accuracy {best['val_accuracy']:.4f} in epoch {best['epoch']}\n"
        f"curves: {run / CURVES}\n"
        "evaluate: python -m ferplus_keras test --checkpoint_path "
        f"{shlex.quote(str(run / MAX_ACCURACY))}"
    )
