"""The command `audit`: what the files of a data set say, row by row and together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.config import default_data_dir
from ferplus_keras.data.dataset import DATASETS, open_source
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.evaluation.audit_findings import examine, find
from ferplus_keras.evaluation.report import write_json
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.templates import render

if TYPE_CHECKING:
    import pandas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `audit`."""
    parser.add_argument("--data_dir", default=default_data_dir())
    parser.add_argument("--dataset_name", choices=list(DATASETS), default="FERPlus")
    parser.add_argument("--label_rule", choices=list(LABEL_RULES), default="majority")
    parser.add_argument("--output_dir", type=Path, default=Path("audit"), help="[audit]")
    parser.add_argument("--cache_dir", help="where parsed pixels are kept")


def audit(arguments: argparse.Namespace) -> None:
    """Write audit.html, audit.json and the CSV files, and print the summary.

    Raises:
        InputError: the data cannot be read, or the folder cannot be written.
    """
    from ferplus_keras.evaluation.audit_page import write_audit_page

    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    source = open_source(arguments.data_dir, arguments.dataset_name, arguments.cache_dir)
    rule = source.label_set.rule(arguments.label_rule)
    votes, fer, title = None, None, source.label_set.name
    if source.label_set.uses_votes:
        fer2013 = open_source(arguments.data_dir, "FER", arguments.cache_dir).rows
        fer = np.take(fer2013.class_names, fer2013.opinions.argmax(axis=1))
        votes, title = source.rows.opinions, "FER2013 and FER+"
    images, names = source.rows.images, source.class_names
    table = examine(images, source.rows.splits, source.label(rule), names, votes, fer)
    findings = find(table, rule.name, names, votes)
    write_lists(table, folder)
    write_json(findings, folder / "audit.json")
    write_audit_page(findings, table, images, votes, folder / "audit.html", title)
    print(format_findings(findings))
    print(f"\naudit.html, audit.json, rows.csv and lists for --exclude are in {folder}")


def write_lists(table: pandas.DataFrame, folder: Path) -> None:
    """Write rows.csv (every row) and, with the same columns, what may be left out of training.

    Each has the column `row` (as `Split.row_ids` numbers rows) that `--exclude` reads: leaks.csv
    (training rows with a duplicate in validation or test), constant.csv (images of one grey level)
    and, where there are votes, disagreements.csv (kept training rows that FER2013 labels
    otherwise).
    """
    training = table["split"] == "train"
    own, label = table["fer2013_label"], table["label"]
    chosen = {
        "rows.csv": table["row"] >= 0,
        "leaks.csv": training & table["leaked"],
        "constant.csv": table["constant"],
    }
    if (own != "").any():
        chosen["disagreements.csv"] = training & (label != "") & (label != own)
    same = table["group"].astype(str).where(table["group"] != table["row"], "")
    written = table.assign(group=same).rename(columns={"group": "same_as_row"})
    written = written.astype({"leaked": int, "constant": int})
    for name, wanted in chosen.items():
        with replacing(folder / name) as path:
            written[wanted].to_csv(path, index=False, float_format="%.3f")


def format_findings(findings: dict[str, Any]) -> str:
    """Return the summary as text."""
    import pandas

    splits = pandas.DataFrame(findings["splits"]).T
    shown = {name: splits[name].map("{:,}".format) for name in ("rows", "kept", "leaked")}
    if "disagreement" in findings:
        for title, name in (("all agree", "unanimous"), ("two agree", "pair_agreement")):
            shown[title] = splits[name].map("{:.1%}".format, "ignore").fillna("not defined")
    return render("audit.txt", table=pandas.DataFrame(shown).to_string(), **findings)
