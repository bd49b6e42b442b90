"""A comparison as text."""

from __future__ import annotations

from typing import Any

CHANCE = 0.05
"""Differences whose corrected p lies above this may well be chance."""


def format_comparison(found: dict[str, Any]) -> str:
    """Return scores, differing protocols, pairs and each class's F1 as tables.

    Args:
        found: as `compare_reports` returns it.
    """
    runs = found["runs"]
    wide = max(3, *(len(run["name"]) for run in runs)) + 2
    heads = ("macro_f1", "balanced_accuracy", "loss", "calibration_error")
    lines = [
        f"{found['split']}:",
        f"{'run':<{wide}}{'n':>7}{'accuracy (95 % interval)':>27}"
        + "".join(f"{head:>19}" for head in heads),
    ]
    for run in runs:
        accuracy = "{:.4f} ({:.4f}-{:.4f})".format(run["accuracy"], *run["accuracy_interval"])
        scores = "".join(f"{_number(run[head]):>19}" for head in heads)
        lines.append(f"{run['name']:<{wide}}{run['n']:>7}{accuracy:>27}{scores}")
    if found["protocol_differences"]:
        lines += ["", "The protocols differ; mind what the numbers mean:"]
        for name, values in found["protocol_differences"].items():
            lines.append(f"  {name}: {', '.join(_value(value) for value in values)}")
    lines.append("")
    for pair in found["pairs"]:
        lines += _pair_lines(pair, many=len(found["pairs"]) > 1)
    columns = [max(14, len(run["name"]) + 2) for run in runs]
    names = "".join(f"{run['name']:>{w}}" for run, w in zip(runs, columns, strict=True))
    longest = max(2, *(len(name) for name in found["class_names"])) + 2
    lines += ["", f"{'F1':<{longest}}{names}"]
    for class_name in found["class_names"]:
        cells = (
            f"{_number(run['per_class_f1'][class_name]):>{w}}"
            for run, w in zip(runs, columns, strict=True)
        )
        lines.append(f"{class_name:<{longest}}{''.join(cells)}")
    return "\n".join(lines)


def rows_note(pair: dict[str, Any]) -> str:
    """Say on which rows a pair is compared."""
    note = f"{pair['n']:,} rows in common"
    left_out = [
        f"{pair[key]:,} {text}"
        for key, text in (
            ("relabelled", "with another label"),
            ("rows_of_first_alone", f"of {pair['first']} alone"),
            ("rows_of_second_alone", f"of {pair['second']} alone"),
        )
        if pair[key]
    ]
    return note + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _pair_lines(pair: dict[str, Any], many: bool) -> list[str]:
    low, high = pair["difference_interval"]
    p = f"p {pair['p']:.2g}" + (f", {pair['p_holm']:.2g} after Holm" if many else "")
    if not pair["only_first_right"] + pair["only_second_right"]:
        verdict = "no difference"
    elif pair["p_holm"] > CHANCE:
        verdict = "may be chance"
    else:
        verdict = f"{pair['second' if pair['difference'] > 0 else 'first']} is better"
    return [
        f"{pair['second']} against {pair['first']}, on {rows_note(pair)}:",
        f"  accuracy {pair['second_accuracy']:.4f} against {pair['first_accuracy']:.4f}, "
        f"difference {pair['difference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})",
        f"  right alone: {pair['only_second_right']} against {pair['only_first_right']}; "
        f"McNemar's exact test {p}: {verdict}",
    ]


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "none" if value is None else str(value)
