"""What a sweep found: sweep.csv, best.yaml, sweep.png and a table of the best."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.files import replacing
from ferplus_keras.queue import read_error
from ferplus_keras.run import RECORD
from ferplus_keras.sweep.plan import METRICS
from ferplus_keras.sweep.trials import LOG, Trials

if TYPE_CHECKING:
    import pandas as pd

PICTURE_SECONDS = 10
"""Age from which the picture is drawn anew while trials go on: it takes a second."""


def sweep_table(trials: Trials) -> pd.DataFrame:
    """Return one row per trial, by number.

    Columns: number, state (complete, failed, running or interrupted), one for each searched flag,
    the metric, best_epoch, seconds of training, and error; what is not known is missing.
    """
    import pandas as pd

    rows = []
    for trial in trials.all():
        number, run, state = trial.number, trials.run(trial.number), trial.state.name
        row = {"number": number, "state": "complete", **trial.params, trials.plan.metric: None}
        row |= {"best_epoch": None, "seconds": None, "error": None}
        if state == "COMPLETE":
            best = trials.best_epoch(number)
            row |= {trials.plan.metric: trial.value, "best_epoch": best and best["epoch"]}
            row["seconds"] = run.record().get("seconds") if (run / RECORD).is_file() else None
        elif state == "FAIL":
            row |= {"state": "failed", "error": read_error(run / LOG)}
        else:
            row["state"] = "running" if trials.is_running(number) else "interrupted"
        rows.append(row)
    numbers = {trials.plan.metric: float, "best_epoch": "Int64", "seconds": float}
    return pd.DataFrame(rows).astype(numbers).round({"seconds": 1}) if rows else pd.DataFrame()


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
        if (table["state"] == "complete").any():
            _write_best(trials, table)
            picture = trials.folder / "sweep.png"
            age = time.time() - picture.stat().st_mtime if picture.is_file() else math.inf
            if last or age > PICTURE_SECONDS:
                _draw(trials, picture)
    return table


def format_best(trials: Trials, table: pd.DataFrame, shown: int = 10) -> str:
    """Return the best trials as text, and where everything is."""
    counts = table["state"].value_counts().sort_index()
    lines = [", ".join(f"{count} {state}" for state, count in counts.items())]
    if "complete" in counts:
        columns = [trials.plan.metric, "best_epoch", "number", *trials.plan.search]
        best = _ranked(trials, table)[columns].head(shown)
        lines.insert(0, best.to_string(index=False, float_format="{:.4g}".format))
        lines.append(f"all trials: {trials.folder / 'sweep.csv'}, {trials.folder / 'sweep.png'}")
        lines.append(f"train the best: python train.py --config {trials.folder / 'best.yaml'}")
    return "\n".join(lines)


def _ranked(trials: Trials, table: pd.DataFrame) -> pd.DataFrame:
    """Return the complete trials, the best first."""
    metric = trials.plan.metric
    complete = table[table["state"] == "complete"]
    return complete.sort_values(metric, ascending=METRICS[metric] == "minimize", kind="stable")


def _write_best(trials: Trials, table: pd.DataFrame) -> None:
    """Write the settings of the best trial as a recipe."""
    import yaml

    ranked, metric, name = _ranked(trials, table), trials.plan.metric, trials.folder.resolve().name
    best = ranked.iloc[0]
    settings = trials.plan.settings(trials.all()[best["number"]].params)
    recipe = yaml.safe_dump({"name": f"{name}_best", **settings}, sort_keys=False)
    with replacing(trials.folder / "best.yaml") as temporary:
        temporary.write_text(
            f"# The best of {len(ranked)} trials of the sweep {name}: trial {best['number']}, "
            f"{metric} {best[metric]:.4f} in epoch {best['best_epoch']}.\n{recipe}",
            encoding="utf-8",
        )


def _draw(trials: Trials, path: Path) -> None:
    """Stack Optuna's plots: the best so far, each flag, and two listed flags against each other."""
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from optuna.visualization import matplotlib as plots

    search = trials.plan.search
    choices = [flag for flag, space in search.items() if space.choices]
    wanted = [(plots.plot_optimization_history, {}), (plots.plot_slice, {"params": [*search]})]
    if len(choices) == 2:
        wanted.append((plots.plot_rank, {"params": choices}))
    strips = []
    layout = {"figure.constrained_layout.use": True}
    with warnings.catch_warnings(), plt.rc_context(layout):  # Optuna sets a style
        warnings.simplefilter("ignore")  # and calls its plots experimental
        for plot, options in wanted:
            plot(trials.study, target_name=trials.plan.metric, **options)
            figure = plt.gcf()
            figure.set(figwidth=max(8, 2.6 * len(search)), figheight=4.8, dpi=120)
            for axes in figure.axes:
                plt.setp(axes.get_xticklabels(), rotation=30, ha="right")
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            strips.append(np.array(canvas.buffer_rgba()))
            plt.close(figure)
    with replacing(path) as temporary:
        plt.imsave(temporary, np.vstack(strips))
