"""report.html: an evaluation on one page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.evaluation.page.annotators import annotator_panel
from ferplus_keras.evaluation.page.classes import class_table, confusion_table
from ferplus_keras.evaluation.page.curves import reliability_plot, roc_plot, training_plots
from ferplus_keras.evaluation.page.faces import ambiguous, confident_errors, face_cards
from ferplus_keras.evaluation.page.protocol_box import protocol_box
from ferplus_keras.evaluation.page.scores import headline, member_table, rule_table, score_table
from ferplus_keras.page.document import write_document
from ferplus_keras.page.markup import Markup, join, tag
from ferplus_keras.run import HISTORY

if TYPE_CHECKING:
    from ferplus_keras.evaluation.scores import Evaluation


def write_page(report: dict[str, Any], judged: dict[str, Evaluation], path: Path) -> None:
    """Write report.html whole: one file without scripts, for screens, telephones and paper.

    Args:
        report: as `evaluate` returns it.
        judged: evaluated splits by name, the same as in the report.
        path: HTML file, replaced whole.
    """
    parts = [
        (title, content)
        for title, make in SECTIONS.items()
        if (content := make(report, judged)) is not None
    ]
    views = "" if report["tta"] == "none" else f", test-time augmentation {report['tta']}"
    write_document(
        path,
        f"{report['model']} on {report['dataset_name']}",
        f"Judged by the label rule {report['label_rule']}{views}",
        parts,
    )


def _panels(*panels: Markup) -> Markup:
    return tag("div", panels, class_="panels")


def _summary(report, judged) -> Markup:
    cards = [headline(name, split) for name, split in report["splits"].items()]
    return _panels(*cards)


def _protocol(report, judged) -> Markup:
    return protocol_box(report)


def _scores(report, judged) -> Markup:
    return tag("div", score_table(report), class_="panel")


def _rules(report, judged) -> Markup:
    tables = [rule_table(report, name) for name in report["splits"]]
    said = (
        "Published figures differ by label rule, and so do the faces they are counted on. A leak "
        "is a face with the pixels of a training row (in training: of a validation or test row)."
    )
    return join([tag("p", said), *(tag("div", found, class_="panel") for found in tables)])


def _members(report, judged) -> Markup | None:
    if "members" not in report:
        return None
    tables = [member_table(report, name) for name in report["splits"]]
    return join(tag("div", found, class_="panel") for found in tables)


def _classes(report, judged) -> Markup:
    return join(class_table(name, split) for name, split in report["splits"].items())


def _confusion(report, judged) -> Markup:
    names = report["class_names"]
    return _panels(
        *(confusion_table(name, split, names) for name, split in report["splits"].items())
    )


def _calibration(report, judged) -> Markup:
    return _panels(
        *(
            reliability_plot(
                name,
                report["splits"][name],
                of_split.labels,
                of_split.probabilities,
                report["temperature"],
            )
            for name, of_split in judged.items()
        )
    )


def _roc(report, judged) -> Markup:
    return _panels(
        *(
            roc_plot(
                name,
                report["splits"][name],
                of_split.labels,
                of_split.probabilities,
            )
            for name, of_split in judged.items()
        )
    )


def _annotators(report, judged) -> Markup | None:
    panels = [
        annotator_panel(name, split["annotators"])
        for name, split in report["splits"].items()
        if split.get("annotators")
    ]
    return _panels(*panels) if panels else None


def _training(report, judged) -> Markup | None:
    runs: dict[Path, int | None] = {}
    for member in report.get("members", [report]):
        runs.setdefault(Path(member["checkpoint"]).parent, member["epoch"])
    drawn = {folder: training_plots(folder / HISTORY, epoch) for folder, epoch in runs.items()}
    shown = [
        join([tag("p", tag("code", str(folder))) if len(runs) > 1 else "", _panels(*plots)])
        for folder, plots in drawn.items()
        if plots
    ]
    said = "A dashed line marks the epoch of the checkpoint that is judged here."
    return join([tag("p", said), *shown]) if shown else None


def _errors(report, judged) -> Markup:
    return _faces(judged, confident_errors, "no face was misjudged")


def _ambiguous(report, judged) -> Markup | None:
    voted = {name: of for name, of in judged.items() if of.votes is not None}
    return _faces(voted, ambiguous, "all agree on every face") if voted else None


def _faces(judged: dict[str, Evaluation], choose: Callable, none: str) -> Markup:
    shown = []
    for name, of_split in judged.items():
        rows = choose(of_split)
        shown.append(tag("h3", name if len(rows) else f"{name}: {none}"))
        shown.append(face_cards(of_split, rows))
    return join(shown)


SECTIONS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Markup | None]] = {
    "Summary": _summary,
    "Protocol": _protocol,
    "Label rules": _rules,
    "Members": _members,
    "Scores": _scores,
    "Classes": _classes,
    "Confusion": _confusion,
    "Calibration": _calibration,
    "ROC curves": _roc,
    "Annotators": _annotators,
    "Training": _training,
    "Confident errors": _errors,
    "Ambiguous faces": _ambiguous,
}
"""Heading -> what stands under it; None where there is nothing to show."""
