"""`python -m ferplus_keras audit`: arguments and the job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ferplus_keras.config import default_data_dir
from ferplus_keras.data.votes import LABEL_RULES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--data_dir", default=default_data_dir())
    parser.add_argument("--label_rule", choices=list(LABEL_RULES), default="majority")
    parser.add_argument("--output_dir", type=Path, default=Path("audit"), help="[audit]")
    parser.add_argument("--cache_dir", help="where parsed pixels are kept")


def audit(arguments: argparse.Namespace) -> None:
    """Write audit.html, audit.json and the CSV files, and print the summary.

    Raises:
        InputError: the data cannot be read or the folder not be written.
    """
    from ferplus_keras.audit.findings import examine, find
    from ferplus_keras.audit.lists import write_lists
    from ferplus_keras.audit.page import write_page
    from ferplus_keras.data.fer_csv import read_fer2013
    from ferplus_keras.data.sources import ferplus
    from ferplus_keras.files import replacing, require_writable

    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    votes = ferplus(arguments.data_dir, arguments.cache_dir).opinions
    fer = read_fer2013(arguments.data_dir, arguments.cache_dir)
    rows = examine(fer, votes, LABEL_RULES[arguments.label_rule])
    findings = find(rows, arguments.label_rule)
    write_lists(rows, folder)
    with replacing(folder / "audit.json") as path:
        path.write_text(json.dumps(findings, indent=2) + "\n", encoding="utf-8")
    write_page(findings, rows, folder / "audit.html")
    print(_format(findings))
    print(f"\naudit.html, audit.json, rows.csv and lists for --exclude are in {folder}")


def _format(findings: dict) -> str:
    lines = [
        f"{findings['rows']:,} rows, {findings['distinct_images']:,} distinct images, "
        f"{findings['constant_images']:,} of one grey level; "
        f"{findings['label_rule']} keeps {findings['kept']:,}",
        f"{'':<12}{'rows':>8}{'kept':>8}{'leaked':>8}{'all agree':>12}{'two agree':>12}",
    ]
    for name, split in findings["splits"].items():
        alike = f"{split['unanimous']:.1%}" if split["unanimous"] is not None else "not defined"
        pair = split["pair_agreement"]
        two = f"{pair:.1%}" if pair is not None else "not defined"
        lines.append(
            f"{name:<12}{split['rows']:>8,}{split['kept']:>8,}{split['leaked']:>8,}"
            f"{alike:>12}{two:>12}"
        )
    twins, differ = findings["twins"], findings["disagreement"]
    lines.append(
        f"{twins['groups']:,} groups of twins, {twins['same_votes']:,} with the same votes; "
        f"FER2013 labels {differ['rows']:,} kept rows otherwise ({differ['share']:.1%})"
    )
    return "\n".join(lines)
