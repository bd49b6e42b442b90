"""What a sweep found: sweep.csv, best.yaml, sweep.png and a table of the best."""

from __future__ import annotations

import csv
import time
from typing import Any

from ferplus_keras.files import replacing
from ferplus_keras.sweep.trials import Trials

TABLE = "sweep.csv"
PICTURE = "sweep.png"
BEST = "best.yaml"
SHOWN = 10
"""Rows of the printed table."""

PICTURE_SECONDS = 10
"""Age from which the picture is drawn anew while trials go on: it takes half a second."""


def describe(kept: dict[str, Any]) -> str:
    """Return the parameters of a trial in one line."""
    return ", ".join(f"{flag} {value}" for flag, value in kept.items())


def sweep_rows(trials: Trials) -> list[dict[str, Any]]:
    """Return one dictionary a trial, by number.

    Keys: number, state (complete, failed, running or interrupted), one for each searched flag,
    the metric, best_epoch, seconds of training, and error; what is not known is None.
    """
    from optuna.trial import TrialState

    rows = []
    for trial in trials.all():
        row = {"number": trial.number, "state": "complete", **trial.params}
        result, error = None, None
        if trial.state == TrialState.COMPLETE:
            result = trials.result(trial.number, trial.params)
        elif trial.state == TrialState.FAIL:
            row["state"], error = "failed", trials.error(trial.number)
        else:
            row["state"] = "running" if trials.is_running(trial.number) else "interrupted"
        rows.append(
            row
            | {
                trials.plan.metric: trial.value,
                "best_epoch": result and result.epoch,
                "seconds": result and result.seconds and round(result.seconds, 1),
                "error": error,
            }
        )
    return rows


def write_report(trials: Trials, *, last: bool) -> int:
    """Write sweep.csv and, once a trial is complete, best.yaml and sweep.png.

    Args:
        trials: the sweep's trials.
        last: whether this process writes no more; sweep.png may else be some seconds behind.

    Returns:
        How many trials are complete or failed.
    """
    rows = sweep_rows(trials)
    if rows:
        with replacing(trials.folder / TABLE) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    ranked = rank(trials, rows)
    if ranked:
        _write_best(trials, ranked)
        picture = trials.folder / PICTURE
        if last or not picture.exists() or time.time() - picture.stat().st_mtime > PICTURE_SECONDS:
            from ferplus_keras.sweep.picture import draw_sweep

            draw_sweep(trials.plan, rows, picture)
    return sum(row["state"] in ("complete", "failed") for row in rows)


def rank(trials: Trials, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of complete trials, the best first."""
    metric, sign = trials.plan.metric, -1 if trials.plan.direction == "maximize" else 1
    complete = [row for row in rows if row["state"] == "complete"]
    return sorted(complete, key=lambda row: sign * row[metric])


def format_best(trials: Trials) -> str:
    """Return the best trials as a table, and where everything is."""
    rows = sweep_rows(trials)
    ranked = rank(trials, rows)
    columns = [trials.plan.metric, "best_epoch", "number", *trials.plan.search]
    cells = [columns, *([_cell(row[name]) for name in columns] for row in ranked[:SHOWN])]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    counts = {state: sum(row["state"] == state for row in rows) for state in _states(rows)}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    if ranked:
        lines.append(f"all trials: {trials.folder / TABLE}, {trials.folder / PICTURE}")
        lines.append(f"train the best: python train.py --config {trials.folder / BEST}")
    return "\n".join(lines)


def _states(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({row["state"] for row in rows})


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_best(trials: Trials, ranked: list[dict[str, Any]]) -> None:
    """Write the settings of the best trial as a recipe."""
    import yaml

    plan, row = trials.plan, ranked[0]
    settings = plan.settings({flag: row[flag] for flag in plan.search})
    name = trials.folder.resolve().name
    source = (
        f"# The best of {len(ranked)} trials of the sweep {name}: trial {row['number']}, "
        f"{plan.metric} {row[plan.metric]:.4f} in epoch {row['best_epoch']}.\n"
    )
    with replacing(trials.folder / BEST) as temporary:
        recipe = yaml.safe_dump({"name": f"{name}_best", **settings}, sort_keys=False)
        temporary.write_text(source + recipe, encoding="utf-8")
