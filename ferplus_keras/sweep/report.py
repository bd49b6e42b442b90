"""What a sweep found: sweep.csv, best.yaml, sweep.png and a table of the best."""

from __future__ import annotations

import io
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.files import replacing
from ferplus_keras.queue import read_error
from ferplus_keras.run import RECORD
from ferplus_keras.sweep.plan import METRICS, Plan
from ferplus_keras.sweep.trials import LOG, Trials

if TYPE_CHECKING:
    import optuna
    import pandas as pd

PICTURE_SECONDS = 10
"""Age from which the picture is drawn anew while trials go on: it takes a second."""


def sweep_table(trials: Trials) -> pd.DataFrame:
    """Return one row per trial, by number.

    Columns: number, state (complete, failed, running or interrupted), one for each searched flag,
    the metric, best_epoch, seconds of training, and error; what is not known is missing.
    """
    import pandas as pd
    from optuna.trial import TrialState

    rows = []
    for trial in trials.all():
        run, best, seconds, error = trials.run(trial.number), None, None, None
        if trial.state == TrialState.COMPLETE:
            state, best = "complete", trials.best_epoch(trial.number)
            seconds = run.record().get("seconds") if (run / RECORD).is_file() else None
        elif trial.state == TrialState.FAIL:
            state, error = "failed", read_error(run / LOG)
        else:
            state = "running" if trials.is_running(trial.number) else "interrupted"
        ends = {"best_epoch": best and best["epoch"], "seconds": seconds, "error": error}
        rows.append(
            {"number": trial.number, "state": state, **trial.params}
            | {trials.plan.metric: trial.value, **ends}
        )
    table = pd.DataFrame(rows)
    return table.astype({"best_epoch": "Int64"}).round({"seconds": 1}) if rows else table


def write_report(trials: Trials, *, last: bool) -> pd.DataFrame:
    """Write sweep.csv and, once a trial is complete, best.yaml and sweep.png.

    Args:
        trials: the sweep's trials.
        last: whether this process writes no more; sweep.png may else be some seconds behind.

    Returns:
        As `sweep_table`.
    """
    table = sweep_table(trials)
    if len(table):
        with replacing(trials.folder / "sweep.csv") as temporary:
            table.to_csv(temporary, index=False)
    if len(_ranked(trials.plan, table)):
        _write_best(trials, table)
        picture = trials.folder / "sweep.png"
        if last or not picture.exists() or time.time() - picture.stat().st_mtime > PICTURE_SECONDS:
            _draw(trials.study, trials.plan, picture)
    return table


def format_best(trials: Trials, table: pd.DataFrame, shown: int = 10) -> str:
    """Return the best trials as text, and where everything is."""
    lines = []
    ranked = _ranked(trials.plan, table)
    if len(ranked):
        columns = [trials.plan.metric, "best_epoch", "number", *trials.plan.search]
        lines += [ranked[columns].head(shown).to_string(index=False, float_format="{:.4g}".format)]
    counts = table["state"].value_counts().sort_index() if len(table) else {}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    if len(ranked):
        lines.append(f"all trials: {trials.folder / 'sweep.csv'}, {trials.folder / 'sweep.png'}")
        lines.append(f"train the best: python train.py --config {trials.folder / 'best.yaml'}")
    return "\n".join(lines)


def _ranked(plan: Plan, table: pd.DataFrame) -> pd.DataFrame:
    """Return the complete trials, the best first."""
    if not len(table):
        return table
    complete = table[table["state"] == "complete"]
    lowest_first = METRICS[plan.metric] == "minimize"
    return complete.sort_values(plan.metric, ascending=lowest_first, kind="stable")


def _write_best(trials: Trials, table: pd.DataFrame) -> None:
    """Write the settings of the best trial as a recipe."""
    import yaml

    plan, ranked = trials.plan, _ranked(trials.plan, table)
    best = ranked.iloc[0]
    kept = trials.all()[best["number"]].params
    name = trials.folder.resolve().name
    source = (
        f"# The best of {len(ranked)} trials of the sweep {name}: trial {best['number']}, "
        f"{plan.metric} {best[plan.metric]:.4f} in epoch {best['best_epoch']}.\n"
    )
    recipe = yaml.safe_dump({"name": f"{name}_best", **plan.settings(kept)}, sort_keys=False)
    with replacing(trials.folder / "best.yaml") as temporary:
        temporary.write_text(source + recipe, encoding="utf-8")


def _draw(study: optuna.Study, plan: Plan, path: Path) -> None:
    """Stack Optuna's plots: the best so far, each flag, and two listed flags against each other."""
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots
    from PIL import Image

    choices = [flag for flag, space in plan.search.items() if space.choices]
    wanted = [(plots.plot_optimization_history, {}), (plots.plot_slice, {"params": [*plan.search]})]
    if len(choices) == 2:
        wanted.append((plots.plot_rank, {"params": choices}))
    pictures = []
    with warnings.catch_warnings(), plt.style.context("default"):  # Optuna sets a style
        warnings.simplefilter("ignore")  # and calls these plots experimental
        for plot, options in wanted:
            plot(study, target_name=plan.metric, **options)
            figure, buffer = plt.gcf(), io.BytesIO()
            for axes in figure.axes:
                axes.tick_params(axis="x", labelrotation=25)
            figure.savefig(buffer, dpi=120, bbox_inches="tight")
            plt.close(figure)
            pictures.append(Image.open(buffer))
    width = max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((width - picture.width) // 2, top))
        top += picture.height
    with replacing(path) as temporary:
        sheet.save(temporary)
