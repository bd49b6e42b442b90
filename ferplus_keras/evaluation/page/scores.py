"""The scores of a page: in large, in a table, and side by side with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ferplus_keras.evaluation.page.protocol_box import rule_meaning
from ferplus_keras.page.markup import (
    Markup,
    decimal,
    facts,
    interval,
    percent,
    table,
    tag,
)

SCORES = (
    ("accuracy", "Accuracy", percent, "share of faces whose most probable class is the label"),
    ("balanced_accuracy", "Balanced accuracy", percent, "mean recall: every class counts alike"),
    ("macro_f1", "Macro F1", decimal, "mean of the classes' F1"),
    ("weighted_f1", "Weighted F1", decimal, "the same, weighed by the faces of each class"),
    ("top2_accuracy", "Top-2 accuracy", percent, "the label is among the two most probable"),
    ("cohens_kappa", "Cohen’s kappa", decimal, "agreement beyond chance; 1 is perfect"),
    ("loss", "Loss", decimal, "mean −log of the label’s probability, in nats; 0 is perfect"),
    ("brier", "Brier score", decimal, "squared error of the probabilities, 0 (perfect) to 2"),
    ("calibration_error", "Calibration error", percent, "mean gap of confidence and accuracy"),
    ("macro_auroc", "Macro AUROC", decimal, "ranking of one class against the rest; 0.5 is chance"),
    (
        "macro_average_precision",
        "Macro average precision",
        decimal,
        "mean area under precision over recall",
    ),
)
"""Key in the report, name, how it is shown, what it is."""


def headline(name: str, split: dict[str, Any]) -> Markup:
    """Return the accuracy of a split in large, and what matters beside it."""
    leak_free = split["leak_free"]
    annotators = split.get("annotators") or {}
    beside = [
        ("95 % interval", interval(split["accuracy_interval"])),
        ("Without leaks", f"{percent(leak_free['accuracy'])} of {leak_free['n']:,} faces"),
        ("Macro F1", decimal(split["macro_f1"])),
        ("Balanced accuracy", percent(split["balanced_accuracy"])),
        ("Calibration error", percent(split["calibration_error"])),
    ]
    if annotators:
        both = [percent(annotators[f"{who}_accuracy"]) for who in ("model", "annotator")]
        beside.append(("Against annotators", f"model {both[0]}, one annotator {both[1]}"))
    number = decimal(100 * split["accuracy"], 1)
    return tag(
        "div",
        tag("h3", f"{name}, {split['n']:,} faces"),
        tag("div", number, tag("small", " % accuracy"), class_="score"),
        facts(beside, "facts pairs"),
        class_="panel",
    )


def score_table(report: dict[str, Any]) -> Markup:
    """Return all scores, a column a split, with what each means."""
    splits = report["splits"]
    rows = [
        [
            name,
            *(_with_interval(split, key, shown) for split in splits.values()),
            tag("td", meaning, class_="text"),
        ]
        for key, name, shown, meaning in SCORES
    ]
    return table(
        "All scores, with 95 % intervals where given",
        ["", *splits, "what it is"],
        rows,
        "explained",
    )


def rule_table(report: dict[str, Any], name: str) -> Markup:
    """Return a split's accuracy with and without leaks and under every label rule."""
    split, own = report["splits"][name], report["label_rule"]
    entries = [
        (own, split, f"this page’s rule: {rule_meaning(report, own)}"),
        ("without leaks", split["leak_free"], "faces that are not in the training rows too"),
    ]
    for rule, found in split["label_rules"].items():
        entries.append((rule, found, rule_meaning(report, rule)))
    return _side_by_side(f"{name}: the same predictions under every label rule", entries)


def member_table(report: dict[str, Any], name: str) -> Markup:
    """Return a split's accuracy of the ensemble and of each member."""
    entries = [("together", report["splits"][name], f"mean of {report['average']}")]
    for member in report["members"]:
        path = Path(member["checkpoint"])
        title = f"{path.parent.name}/{path.name}"
        about = (
            f"{member['model']}, {member['image_size']} pixels, trained with "
            f"{member['trained_with']['label_rule']}, SHA-256 {member['checkpoint_sha256'][:12]}…"
        )
        entries.append((title, member["splits"][name], about))
    return _side_by_side(f"{name}: the ensemble and its members", entries)


def _side_by_side(caption: str, entries: Sequence[tuple[str, dict[str, Any], str]]) -> Markup:
    """Return accuracies with whiskers on one scale; the first entry is the page's own."""
    span = _span(found["accuracy_interval"] for _, found, _ in entries)
    axis = tag("span", [tag("span", percent(end, 0)) for end in span], class_="axis")
    heads = ["", "faces", "accuracy", axis, "95 % interval", "macro F1", "what it is"]
    rows = [
        [
            name,
            f"{found['n']:,}",
            percent(found["accuracy"]),
            tag("td", _whisker(name, found, span, colour=int(number > 0))),
            interval(found["accuracy_interval"]),
            decimal(found["macro_f1"]),
            tag("td", meaning, class_="text"),
        ]
        for number, (name, found, meaning) in enumerate(entries)
    ]
    return table(caption, heads, rows, "wide explained")


def _span(intervals: Iterable[Sequence[float] | None]) -> tuple[float, float]:
    """Return the steps of 5 % that hold all intervals."""
    known = [bounds for bounds in intervals if bounds is not None]
    low = min((low for low, _ in known), default=0)
    high = max((high for _, high in known), default=1)
    low, high = math.floor(low * 20) / 20, math.ceil(high * 20) / 20
    return low, high if high > low else low + 0.05


def _whisker(
    name: str, found: dict[str, Any], span: tuple[float, float], colour: int
) -> Markup | str:
    """Return an interval as a line with a dot."""
    if found["accuracy"] is None:
        return ""
    low, high = found["accuracy_interval"]
    low, value, high = (
        180 * (number - span[0]) / (span[1] - span[0]) for number in (low, found["accuracy"], high)
    )
    ink = f"var(--c{8 if colour else 0})"
    line = {"y1": 8, "y2": 8, "stroke": ink, "stroke_width": 2}
    return tag(
        "svg",
        tag("rect", x=0, y=7.5, width=180, height=1, fill="var(--line)"),
        tag("line", x1=f"{low:.1f}", x2=f"{high:.1f}", **line),
        tag("circle", cx=f"{value:.1f}", cy=8, r=4.5, fill=ink),
        viewBox="0 0 180 16",
        class_="whisker",
        role="img",
        aria_label=f"{name}: {percent(found['accuracy'])}, "
        f"95 % interval {interval(found['accuracy_interval'])}",
    )


def _with_interval(split: dict[str, Any], key: str, shown) -> Markup:
    bounds = interval(split.get(f"{key}_interval"), shown)
    small = tag("small", f" ({bounds})", class_="quiet") if bounds else ""
    return tag("td", shown(split[key]), small)
