"""The command `audit`: labels, votes, duplicates and leaks of a data set's files."""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.arguments import add_settings
from ferplus_keras.config import DATA, TrainConfig
from ferplus_keras.data.dataset import Source, open_source
from ferplus_keras.data.labels import LabelRule
from ferplus_keras.emotions import SPLITS, VOTE_COLUMNS
from ferplus_keras.evaluation.metrics import vote_entropy, vote_shares
from ferplus_keras.files import replacing, require_writable, write_json
from ferplus_keras.inputs import cell
from ferplus_keras.lazy import pandas
from ferplus_keras.run import READING
from ferplus_keras.templates import png, render, write_page

DESCRIPTION = "Inspect votes, labels, duplicates and leaks; write audit.html and lists."
SHOWN = 12  # samples of each class, and rows or groups of each kind, that are named or drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `audit`."""
    add_settings(parser, TrainConfig, DATA)
    parser.add_argument("--output_dir", type=Path, default=Path("audit"), help="[audit]")


def audit(arguments: argparse.Namespace) -> None:
    """Write audit.html, audit.json and the CSV files, and print the summary.

    Raises:
        InputError: the data cannot be read, or the folder cannot be written.
    """
    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    reading = {name: getattr(arguments, name) for name in READING}
    places = (arguments.data_dir, arguments.dataset_name, arguments.cache_dir)
    source = open_source(*places, **reading)
    rule = source.label_set.rule(arguments.label_rule)
    fer, title = None, source.label_set.name
    if source.label_set.uses_votes and source.rows.paths is None:  # not Microsoft's pictures
        fer2013 = open_source(arguments.data_dir, "FER", arguments.cache_dir).rows
        fer = np.take(fer2013.class_names, fer2013.opinions.argmax(axis=1))
        title = "FER2013 and FER+"
    table = examine(source, rule, fer)
    if source.rows.paths is not None:
        # As objects: pandas' strings must be UTF-8, file names need not be.
        table["path"] = pandas.Series(map(cell, source.rows.paths), dtype=object)
    findings = find(table, source, rule.name)
    write_lists(table, folder)
    write_json(findings, folder / "audit.json")
    write_audit_page(findings, table, source, folder / "audit.html", title)
    print(format_findings(findings))
    print(f"\naudit.html, audit.json, rows.csv and lists for --exclude are in {folder}")


def examine(source: Source, rule: LabelRule, fer: np.ndarray | None = None) -> pandas.DataFrame:
    """Return what is known of every row, in file order, and its labels under a rule.

    `fer` is FER2013's own label, (n,) str; None where there is no other label. Of several right
    classes, the label is this one, else the one with the most votes.

    Returns:
        Columns row, split, fer2013_label, label ("" where the row is dropped), dropped_because,
        agreement (share of all votes that the first choice got), entropy (of the votes for
        emotions, in bits), group (the first row with the same pixels), leaked (whether a duplicate
        lies on the other side of training) and constant (whether all pixels are alike).
    """
    images, names = source.rows.images, source.class_names
    labels, votes = source.label(rule), source.votes()
    if fer is not None:  # more than there are votes
        votes = votes + 1000 * (np.array(fer)[:, None] == np.array(names))
    best = rule.kind.labels(labels.targets, votes)
    agreement = entropy = np.nan
    if source.label_set.uses_votes:
        entropy = vote_entropy(source.rows.opinions[:, : VOTE_COLUMNS.index("unknown")])
        agreement = vote_shares(source.rows.opinions).max(axis=1)
    return pandas.DataFrame(
        {
            "row": np.arange(len(images)),
            "split": source.rows.splits,
            "fer2013_label": "" if fer is None else fer,
            "label": np.where(labels.keep, np.take(names, best), ""),
            "dropped_because": labels.reasons,
            "agreement": agreement,
            "entropy": entropy,
            "group": source.groups,
            "leaked": source.leaked,
            "constant": [not np.ptp(image, axis=(0, 1)).any() for image in images],
        }
    )


def write_lists(table: pandas.DataFrame, folder: Path) -> None:
    """Write rows.csv (every row) and, with the same columns, what may be left out of training.

    Each has the column `row` (as `Split.row_ids` numbers rows) that `--exclude` reads: leaks.csv
    (training rows with a duplicate in validation or test), constant.csv (images of one grey level)
    and, where there are votes, disagreements.csv (kept training rows that FER2013 could and does
    label otherwise).
    """
    training = table["split"] == "train"
    own, label = table["fer2013_label"], table["label"]
    chosen = {
        "rows.csv": table["row"] >= 0,
        "leaks.csv": training & table["leaked"],
        "constant.csv": table["constant"],
    }
    if (own != "").any():
        chosen["disagreements.csv"] = training & label.isin(set(own)) & (label != own)
    same = table["group"].astype(str).where(table["group"] != table["row"], "")
    written = table.assign(group=same).rename(columns={"group": "same_as_row"})
    written = written.astype({"leaked": int, "constant": int})
    for name, wanted in chosen.items():
        with replacing(folder / name) as path:
            written[wanted].to_csv(path, index=False, float_format="%.3f", errors="surrogateescape")


def find(table: pandas.DataFrame, source: Source, label_rule: str) -> dict[str, Any]:
    """Return the numbers of the audit, ready for JSON.

    `table` is what `examine` returned of `source` and the rule of that name. Some numbers are there
    only where there are votes, or FER2013's labels: `disagreement.table` counts these (rows)
    against the rule's (columns), both in the order of the classes.
    """

    def count(names: pandas.Series) -> dict[str, int]:
        return names.value_counts().reindex(class_names, fill_value=0).to_dict()

    class_names = list(source.class_names)
    votes = source.rows.opinions if source.label_set.uses_votes else None
    kept = table[table["label"] != ""]
    compared = (table["fer2013_label"] != "").any()
    splits = {}
    for name in SPLITS:
        part = table[table["split"] == name]
        splits[name] = {
            "rows": len(part),
            "kept": int((part["label"] != "").sum()),
            "classes": count(part["label"]),
            "leaked": int(part["leaked"].sum()),
        }
        if votes is not None:
            of_split, agreement = votes[part.index], part["agreement"]
            splits[name] |= {
                "mean_votes": dict(zip(VOTE_COLUMNS, map(_mean, of_split.T), strict=True)),
                "unanimous": _mean(agreement == 1),
                "mean_agreement": _mean(agreement),
                "pair_agreement": pair_agreement(of_split),
                "mean_entropy": _mean(part["entropy"]),
            }
        if compared:
            splits[name]["fer2013_classes"] = count(part["fer2013_label"])
    found = {
        "label_rule": label_rule,
        "rows": len(table),
        "kept": len(kept),
        "distinct_images": table["group"].nunique(),
        "constant_images": int(table["constant"].sum()),
        "constant_rows": table.index[table["constant"]].tolist(),
        "splits": splits,
        "duplicates": find_duplicates(table, votes),
        "shared": find_shared(table),
    }
    if votes is not None:
        edges = np.arange(0, 3.01, 0.25)  # the last bin holds its upper edge, the most there can be
        counts, _ = np.histogram(np.clip(table["entropy"], edges[0], edges[-1]), edges)
        found["entropy"] = {"edges": edges.tolist(), "rows": counts.tolist()}
        ambiguous = table["entropy"].sort_values(ascending=False, kind="stable").index[:SHOWN]
        found["ambiguous"] = [{"row": row, "votes": votes[row].tolist()} for row in ambiguous]
    if compared:
        crossed = pandas.crosstab(kept["fer2013_label"], kept["label"])
        crossed = crossed.reindex(class_names, columns=class_names, fill_value=0)
        differ = int((kept["fer2013_label"] != kept["label"]).sum())
        found["disagreement"] = {
            "rows": differ,
            "share": differ / max(len(kept), 1),
            "table": crossed.to_numpy().tolist(),
        }
    return found


def pair_agreement(votes: np.ndarray) -> float | None:
    """Return the chance that two annotators of one face, drawn at random, voted alike.

    `votes` are (n, 10) int.
    """
    votes = votes[votes.sum(axis=1) >= 2]
    total = votes.sum(axis=1)
    return _mean((votes * (votes - 1)).sum(axis=1) / (total * (total - 1)))


def find_duplicates(table: pandas.DataFrame, votes: np.ndarray | None) -> dict[str, Any]:
    """Count the groups of identical images, without images of one grey level.

    Returns:
        {"groups", "rows", "same_label" (dropped rows count as one more class), "largest": [{"row":
        the first, "rows": how many}]} and, where there are votes, {"same_votes", "votes_differ":
        [rows of each group whose votes differ]}.
    """
    alike = table[~table["constant"] & table.duplicated("group", keep=False)]
    groups = [rows.tolist() for rows in alike.groupby("group").groups.values()]
    largest = sorted(groups, key=len, reverse=True)[:SHOWN]
    found = {
        "groups": len(groups),
        "rows": len(alike),
        "same_label": int((alike.groupby("group")["label"].nunique() == 1).sum()),
        "largest": [{"row": group[0], "rows": len(group)} for group in largest],
    }
    if votes is not None:
        differ = [group for group in groups if (votes[group] != votes[group[0]]).any()]
        found |= {"same_votes": len(groups) - len(differ), "votes_differ": differ}
    return found


def find_shared(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Count what each pair of splits has in common, images of one grey level included.

    Returns:
        [{"splits": (a, b), "images": distinct ones, "rows": (of a that are in b, of b in a)}].
    """
    found = []
    for pair in combinations(SPLITS, 2):
        first, second = (table["group"][table["split"] == name] for name in pair)
        inside = (int(first.isin(second).sum()), int(second.isin(first).sum()))
        found.append({"splits": pair, "images": len(np.intersect1d(first, second)), "rows": inside})
    return found


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def format_findings(findings: dict[str, Any]) -> str:
    """Return the summary as text."""
    splits = pandas.DataFrame(findings["splits"]).T
    shown = {name: splits[name].map("{:,}".format) for name in ("rows", "kept", "leaked")}
    if "entropy" in findings:
        for title, name in (("all agree", "unanimous"), ("two agree", "pair_agreement")):
            shown[title] = splits[name].map("{:.1%}".format, "ignore").fillna("not defined")
    return render("audit.txt", table=pandas.DataFrame(shown).to_string(), **findings)


def write_audit_page(
    findings: dict[str, Any], table: pandas.DataFrame, source: Source, path: Path, title: str
) -> None:
    """Write audit.html whole, titled `title`, from what `find` and `examine` returned."""
    images = source.rows.images

    def card(row: int, text: str) -> dict[str, Any]:
        voted = source.label_set.uses_votes
        numbers = source.rows.opinions[row].tolist() if voted else ()
        bars = [(number / 10, str(number or "")) for number in numbers]
        return {"png": png(images[row]), "text": text, "votes": bars}

    names = table.get("path", "row " + table["row"].astype(str))
    place = names + ", " + table["split"].astype(object)
    dropped = "dropped, " + table["dropped_because"]
    said = dropped.where(table["label"] == "", "label " + table["label"])
    duplicates, ambiguous = findings["duplicates"], findings.get("ambiguous", ())
    differ = [row for group in duplicates.get("votes_differ", ())[:SHOWN] for row in group]
    strips = []
    for name in source.class_names:
        rows = table[table["label"] == name]
        if len(rows):
            firsts = rows.drop_duplicates("group").index
            drawn = np.random.default_rng(0).choice(firsts, min(SHOWN, len(firsts)), replace=False)
            parts = np.array_split(rows.index, len(rows) // 1000 + 1)  # a few in memory at a time
            total = sum(images[part].sum(axis=0, dtype=np.int64) for part in parts)
            mean = png((total / len(rows)).round().astype(np.uint8))
            faces = [(row, png(images[row])) for row in sorted(drawn.tolist())]
            strips.append({"name": name, "rows": len(rows), "mean": mean, "faces": faces})
    write_page(
        path,
        "audit.html",
        title=title,
        subtitle=f"{findings['rows']:,} rows, labelled by {findings['label_rule']}",
        findings={"entropy": None, "disagreement": None} | findings,
        class_names=source.class_names,
        vote_columns=VOTE_COLUMNS,
        shown=SHOWN,
        strips=strips,
        largest=[
            card(of["row"], f"{of['rows']} rows, the first is {names[of['row']]}")
            for of in duplicates["largest"]
        ],
        votes_differ=[card(row, place[row]) for row in differ],
        ambiguous=[card(of["row"], f"{place[of['row']]}: {said[of['row']]}") for of in ambiguous],
    )
