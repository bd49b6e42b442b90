"""The command `audit`: what the files of a data set say, row by row and together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.config import default_data_dir
from ferplus_keras.data.dataset import DATASETS, open_source
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.emotions import VOTE_COLUMNS
from ferplus_keras.evaluation.audit_findings import examine, find, write_lists
from ferplus_keras.files import require_writable, write_json
from ferplus_keras.templates import png, render, write_page

if TYPE_CHECKING:
    import pandas

SHOWN = 12  # samples of each class, and rows or groups of each kind, on the page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `audit`."""
    parser.add_argument("--data_dir", default=default_data_dir())
    parser.add_argument("--dataset_name", choices=list(DATASETS), default="FERPlus")
    parser.add_argument("--label_rule", choices=list(LABEL_RULES), default="majority")
    parser.add_argument("--output_dir", type=Path, default=Path("audit"), help="[audit]")
    parser.add_argument("--cache_dir", help="where parsed pixels are kept")
    parser.add_argument("--group", help="as for train.py")
    parser.add_argument("--skip_unreadable", action="store_true", help="as for train.py")


def audit(arguments: argparse.Namespace) -> None:
    """Write audit.html, audit.json and the CSV files, and print the summary.

    Raises:
        InputError: the data cannot be read, or the folder cannot be written.
    """
    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    source = open_source(
        arguments.data_dir,
        arguments.dataset_name,
        arguments.cache_dir,
        group=arguments.group,
        skip_unreadable=arguments.skip_unreadable,
    )
    rule = source.label_set.rule(arguments.label_rule)
    votes, fer, title = None, None, source.label_set.name
    if source.label_set.uses_votes:
        fer2013 = open_source(arguments.data_dir, "FER", arguments.cache_dir).rows
        fer = np.take(fer2013.class_names, fer2013.opinions.argmax(axis=1))
        votes, title = source.rows.opinions, "FER2013 and FER+"
    images, names = source.rows.images, source.class_names
    labels = source.label(rule)
    table = examine(images, source.groups, source.rows.splits, labels, names, votes, fer)
    findings = find(table, rule.name, names, votes)
    write_lists(table, folder)
    write_json(findings, folder / "audit.json")
    write_audit_page(findings, table, images, votes, folder / "audit.html", title)
    print(format_findings(findings))
    print(f"\naudit.html, audit.json, rows.csv and lists for --exclude are in {folder}")


def _mean(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the mean of some faces, a few in memory at a time."""
    parts = np.array_split(rows, len(rows) // 1000 + 1)
    return sum(images[part].sum(axis=0, dtype=np.int64) for part in parts) / len(rows)


def format_findings(findings: dict[str, Any]) -> str:
    """Return the summary as text."""
    import pandas

    splits = pandas.DataFrame(findings["splits"]).T
    shown = {name: splits[name].map("{:,}".format) for name in ("rows", "kept", "leaked")}
    if "disagreement" in findings:
        for title, name in (("all agree", "unanimous"), ("two agree", "pair_agreement")):
            shown[title] = splits[name].map("{:.1%}".format, "ignore").fillna("not defined")
    return render("audit.txt", table=pandas.DataFrame(shown).to_string(), **findings)


def write_audit_page(
    findings: dict[str, Any],
    table: pandas.DataFrame,
    images: np.ndarray,
    votes: np.ndarray | None,
    path: Path,
    title: str,
) -> None:
    """Write audit.html whole, under a heading, of what `find` and `examine` returned.

    `images` are (n, s, s) or (n, s, s, 3) uint8, `votes` (n, 10) int, or None.
    """

    def card(row: int, text: str) -> dict[str, Any]:
        numbers = () if votes is None else votes[row].tolist()
        bars = [(number / 10, str(number or "")) for number in numbers]
        return {"png": png(images[row]), "text": text, "votes": bars}

    place = "row " + table["row"].astype(str) + ", " + table["split"]
    dropped = "dropped, " + table["dropped_because"]
    said = dropped.where(table["label"] == "", "label " + table["label"])
    duplicates, ambiguous = findings["duplicates"], findings.get("ambiguous", ())
    differ = [row for group in duplicates.get("votes_differ", ())[:SHOWN] for row in group]
    class_names = list(findings["splits"]["train"]["classes"])
    strips = []
    for name in class_names:
        rows = table[table["label"] == name]
        if len(rows):
            firsts = rows.drop_duplicates("group").index
            drawn = np.random.default_rng(0).choice(firsts, min(SHOWN, len(firsts)), replace=False)
            mean = png(_mean(images, rows.index).round().astype(np.uint8))
            faces = [(row, png(images[row])) for row in sorted(drawn.tolist())]
            strips.append({"name": name, "rows": len(rows), "mean": mean, "faces": faces})
    write_page(
        path,
        "audit.html",
        title=title,
        subtitle=f"{findings['rows']:,} rows, labelled by {findings['label_rule']}",
        findings={"disagreement": None} | findings,
        class_names=class_names,
        vote_columns=VOTE_COLUMNS,
        shown=SHOWN,
        strips=strips,
        largest=[
            card(of["row"], f"{of['rows']} rows, the first is {of['row']}")
            for of in duplicates["largest"]
        ],
        votes_differ=[card(row, place[row]) for row in differ],
        ambiguous=[card(of["row"], f"{place[of['row']]}: {said[of['row']]}") for of in ambiguous],
    )
