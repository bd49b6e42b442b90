"""The model beside the people who labelled the faces, in plain words."""

from __future__ import annotations

from typing import Any

from ferplus_keras.page.markup import Markup, bar_cell, decimal, percent, table, tag


def annotator_panel(name: str, found: dict[str, Any]) -> Markup:
    """Return what `agreement` found on a split, explained."""
    model, human = found["model_accuracy"], found["annotator_accuracy"]
    if model > human:
        verdict = (
            "So the model names the others’ label more often than a single annotator does: it "
            "learnt from many people what most of them say; an annotator gives one opinion."
        )
    else:
        verdict = "So a single annotator names the others’ label at least as often as the model."
    rows = (
        ("model, label of the others", model),
        ("one annotator, label of the others", human),
        ("model, one annotator at random", found["expected_accuracy"]),
    )
    return tag(
        "div",
        table(
            f"{name}, {found['n']:,} faces with two votes or more: who agrees with whom",
            ["", "agreement"],
            [[about, bar_cell(percent(share), share)] for about, share in rows],
            "wide",
        ),
        tag(
            "p",
            "Each annotator in turn is held out, and the label is what the others voted for most. "
            f"The held-out annotator names that label in {percent(human)} of cases, the model in "
            f"{percent(model)}. {verdict}",
        ),
        tag(
            "p",
            f"With an annotator drawn at random the model agrees in "
            f"{percent(found['expected_accuracy'])} of cases; where people disagree with each "
            "other, nobody can agree with all. From the shares of the votes the probabilities are "
            f"{decimal(found['kl_divergence'])} nats away (Kullback-Leibler divergence; 0 if they "
            "were the same).",
        ),
        class_="panel",
    )
