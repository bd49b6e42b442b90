"""A comparison as text."""

from __future__ import annotations

from typing import Any

from ferplus_keras.evaluation.report import format_number, format_summary

CHANCE = 0.05
"""Differences whose corrected p lies above this may well be chance."""


def format_comparison(found: dict[str, Any]) -> str:
    """Return scores, differing protocols, pairs and each class's F1 as tables.

    Args:
        found: as `compare_reports` returns it.
    """
    import pandas

    runs = found["runs"]
    scores = pandas.DataFrame([format_summary(run) for run in runs], [run["name"] for run in runs])
    lines = [f"{found['split']}:", scores.to_string()]
    if found["protocol_differences"]:
        lines += ["", "The protocols differ; mind what the numbers mean:"]
        for name, values in found["protocol_differences"].items():
            said = (" ".join(of) if isinstance(of, list) else str(of or "none") for of in values)
            lines.append(f"  {name}: {', '.join(said)}")
    lines.append("")
    for pair in found["pairs"]:
        lines += _pair_lines(pair, many=len(found["pairs"]) > 1)
    f1 = pandas.DataFrame({run["name"]: run["per_class_f1"] for run in runs}, dtype=object)
    f1 = f1.map(format_number).rename_axis("F1", axis="columns")
    return "\n".join([*lines, "", f1.to_string()])


def _pair_lines(pair: dict[str, Any], many: bool) -> list[str]:
    left_out = [
        f"{pair[key]:,} {text}"
        for key, text in (
            ("relabelled", "with another label"),
            ("rows_of_first_alone", f"of {pair['first']} alone"),
            ("rows_of_second_alone", f"of {pair['second']} alone"),
        )
        if pair[key]
    ]
    rows = "; left out: ".join(filter(None, [f"{pair['n']:,} rows in common", ", ".join(left_out)]))
    p = f"p {pair['p']:.2g}" + (f", {pair['p_holm']:.2g} after Holm" if many else "")
    if not pair["only_first_right"] + pair["only_second_right"]:
        verdict = "no difference"
    elif pair["p_holm"] > CHANCE:
        verdict = "may be chance"
    else:
        verdict = f"{pair['second' if pair['difference'] > 0 else 'first']} is better"
    low, high = pair["difference_interval"]
    return [
        f"{pair['second']} against {pair['first']}, on {rows}:",
        f"  accuracy {pair['second_accuracy']:.4f} against {pair['first_accuracy']:.4f}, "
        f"difference {pair['difference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})",
        f"  right alone: {pair['only_second_right']} against {pair['only_first_right']}; "
        f"McNemar's exact test {p}: {verdict}",
    ]
