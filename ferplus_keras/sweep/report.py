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
"""Seconds after which the picture is redrawn while trials run: it takes a second."""


def write_report(trials: Trials, *, last: bool) -> pd.DataFrame:
    """Write sweep.csv and, once a trial is complete, best.yaml and sweep.png.

    Args:
        trials: the sweep's trials.
        last: whether this process writes no more; sweep.png may else be some seconds behind.

    Returns:
        What sweep.csv holds, one row per trial by number: number, state (complete, failed, running
        or interrupted), the searched flags, the metric, best_epoch, seconds, error.
    """
    import pandas as pd

    metric = trials.plan.metric
    rows = []
    for trial in trials.all():
        number, run = trial.number, trials.run(trial.number)
        state = {"COMPLETE": "complete", "FAIL": "failed"}.get(trial.state.name)
        state = state or ("running" if trials.is_running(number) else "interrupted")
        best = trials.best_epoch(number) if state == "complete" else None
        record = run.record() if best and (run / RECORD).is_file() else {}
        error = read_error(run / LOG) if state == "failed" else None
        ends = [trial.value, best and best["epoch"], record.get("seconds"), error]
        rows.append([number, state, *(trial.params[flag] for flag in trials.plan.search), *ends])
    ends = [metric, "best_epoch", "seconds", "error"]
    table = pd.DataFrame(rows, columns=["number", "state", *trials.plan.search, *ends])
    table = table.astype({metric: float, "best_epoch": "Int64", "seconds": float})
    with replacing(trials.folder / "sweep.csv") as temporary:
        table.round({"seconds": 1}).to_csv(temporary, index=False)
    ranked = _ranked(trials, table)
    if len(ranked):
        _write_best(trials, ranked)
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


def _write_best(trials: Trials, ranked: pd.DataFrame) -> None:
    """Write the settings of the best trial as a recipe."""
    import yaml

    best, metric, name = ranked.iloc[0], trials.plan.metric, trials.folder.resolve().name
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
    wanted = {plots.plot_optimization_history: {}, plots.plot_slice: {"params": [*search]}}
    choices = [flag for flag, space in search.items() if space.choices]
    if len(choices) == 2:
        wanted[plots.plot_rank] = {"params": choices}
    strips = []
    layout = {"figure.constrained_layout.use": True}
    with warnings.catch_warnings(), plt.rc_context(layout):  # Optuna sets a style
        warnings.simplefilter("ignore")  # and calls its plots experimental
        for plot, options in wanted.items():
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
