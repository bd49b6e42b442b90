"""Kept results as the tables of a Markdown page."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ferplus_keras.arguments import as_words
from ferplus_keras.errors import InputError, one_line, unknown
from ferplus_keras.inputs import read_mapping
from ferplus_keras.registry import Registry
from tools import marks
from tools.plan import read_plan

MARK = marks.pattern("results")
"""A table's place: `<!-- results: KIND [NAME] -->` … `<!-- end -->`."""

NOTHING = "–"
Result = dict[str, Any]


class Sources(NamedTuple):
    """What tables are made of.

    Attributes:
        results: folder of NAME.json files; each folder in it is a study.
        recipes: folder of recipes.
        published: Markdown page with a table of recipes, whose column `published` is copied.
    """

    results: Path
    recipes: Path
    published: Path


TABLES: Registry[Callable[[Sources, str], str]] = Registry("table")
"""Every table by the kind that its mark names; each takes the sources and the mark's name."""


def fill(text: str, sources: Sources) -> str:
    """Return a Markdown text with every marked table regenerated.

    Raises:
        InputError: a mark names an unknown table or has no end, or a result cannot be read.
        LookupError, TypeError, ValueError, AttributeError: a result was edited or damaged.
    """
    return marks.fill(text, "results", lambda kind, name: TABLES[kind](sources, name))


def read_results(folder: Path) -> dict[str, Result]:
    """Return the results of a folder by name, in the order of the names.

    Raises:
        InputError: there is none, one cannot be read or has another name than its file.
    """
    found = {path.stem: read_mapping(path) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise InputError(f"no results (*.json) in {folder}")
    for stem, result in found.items():
        if result.get("name") != stem:
            name = one_line(result.get("name"))
            raise InputError(f"{folder / stem}.json holds the result {name}: rename one of them")
    return found


@TABLES.register("recipes")
def _recipes(sources: Sources, _: str) -> str:
    """Return a row per recipe: what was published and what it reached here."""
    runs: dict[str, list[Result]] = {}
    for result in read_results(sources.results).values():
        first, *others = result["networks"]
        as_written = first["changed"].keys() <= {"mixed_precision"}
        if not others and as_written and result["name"] == first["name"]:
            runs.setdefault(first["recipe"], []).append(result)
    rows = []
    for recipe, published in _published_figures(sources.published).items():
        if not (sources.recipes / f"{recipe}.yaml").is_file():
            raise InputError(f"{sources.published} names a recipe {recipe} that is not there")
        reached = "not yet run | – | – | – | – | –"
        if found := runs.get(recipe):
            evaluation = found[0]["evaluation"]
            has_rules = evaluation["dataset_name"].startswith("FERPlus")
            rule = evaluation["label_rule"] if has_rules else NOTHING
            leak_free, by_microsoft = (
                _mean(_accuracy(result, "test", part) for result in found)
                for part in ("leak_free", "ms_majority")
            )
            splits = f"{_over_seeds(found, 'validation')} | {_over_seeds(found, 'test')}"
            reached = f"{splits} | {leak_free} | {by_microsoft} | {rule} | {len(found)}"
        link = f"[`{recipe}`]({sources.recipes.name}/{recipe}.yaml)"
        rows.append(f"{link} | {published} | {reached}")
    heads = "recipe | published | validation | test | without leaks | by `ms_majority`"
    return _table(f"{heads} | label rule | seeds", rows)


@TABLES.register("evaluations")
def _evaluations(sources: Sources, _: str) -> str:
    """Return a row per result, those of one recipe together, the best of them first."""

    def place(result: Result) -> tuple:
        return [net["recipe"] for net in result["networks"]], -_accuracy(result, "validation")

    rows = []
    for result in sorted(read_results(sources.results).values(), key=place):
        evaluation, networks = result["evaluation"], result["networks"]
        models = " + ".join(dict.fromkeys(network["model"] for network in networks))
        models += f" ×{len(networks)}" if len(networks) > 1 else ""
        views = evaluation["tta"] if evaluation["tta"] != "none" else NOTHING
        if evaluation["average"] != "probabilities":
            views += f", {evaluation['average']}"
        ends = [_accuracy(result, "test", part) for part in ("leak_free", "ms_majority")]
        ends.append(evaluation["splits"].get("test", {}).get("macro_f1"))
        rows.append(
            f"`{result['name']}` | {models} | {sum(net['parameters'] for net in networks):,} | "
            f"{views} | {_over_seeds([result], 'validation')} | {_over_seeds([result], 'test')} | "
            f"{' | '.join(map(_percent, ends))}"
        )
    heads = "result | network | parameters | views | validation | test | without leaks"
    return _table(f"{heads} | by `ms_majority` | macro F1", rows)


@TABLES.register("runs")
def _runs(sources: Sources, _: str) -> str:
    """Return a row per training: length, speed, machine and source."""
    rows = []
    for net in _networks(sources):
        hours, minutes = divmod(round(net["seconds"] / 60), 60)
        processor, cores, gpus = (net["hardware"][key] for key in ("processor", "cores", "gpus"))
        machine = ", ".join(gpus) or f"{cores} core{'s' * (cores != 1)} of {processor}"
        commit = f"`{net['commit'][:8]}`" if net["commit"] else NOTHING
        rows.append(
            f"`{net['name']}` | {net['seed']} | {net['train_rows']:,} | "
            f"{net['epoch']} of {net['epochs']} | {hours}:{minutes:02} h | "
            f"{net['images_per_second']:,.0f} | {machine} | "
            f"{net['backend']}, Keras {net['versions']['keras']} | {commit}"
        )
    heads = "run | seed | rows | chosen epoch | time | images/s | hardware | backend | commit"
    return _table(heads, rows)


@TABLES.register("commands")
def _commands(sources: Sources, _: str) -> str:
    """Return the commands of every training and evaluation as a block."""
    lines = [f"{network['command']} --data_dir D" for network in _networks(sources)]
    lines += [result["evaluation"]["command"] for result in read_results(sources.results).values()]
    return "\n".join(["```sh", *lines, "```"])


@TABLES.register("rules")
def _rules(sources: Sources, name: str) -> str:
    """Return one result under every label rule."""
    results = read_results(sources.results)
    if name not in results:
        raise unknown("result", name, results)
    evaluation = results[name]["evaluation"]
    splits = evaluation["splits"]
    found: dict[str, Iterable[Result]] = {
        f"`{evaluation['label_rule']}`": splits.values(),
        "– without leaks": [split["leak_free"] for split in splits.values()],
    }
    first, *_ = splits.values()
    for rule in first["label_rules"]:
        found[f"`{rule}`"] = [split["label_rules"][rule] for split in splits.values()]
    rows = [
        " | ".join([head, *(f"{_percent(row['accuracy'])} of {row['n']:,}" for row in scores)])
        for head, scores in found.items()
    ]
    return _table(" | ".join(["label rule", *splits]), rows)


@TABLES.register("study")
def _study(sources: Sources, name: str) -> str:
    """Return a row per variant of a study: what it changes and what that gives.

    A study is a folder of results. Those called base, or base_seed1 and so on, behind the folder's
    name, are its base. A difference from it that is no larger than the standard deviation over the
    seeds, of the base or of the variant, is said to be within the spread. A variant that a
    campaign's plan has and the folder lacks is "not yet run".
    """
    results = read_results(sources.results / name)
    base = [result for run, result in results.items() if run.startswith(f"{name}_base")]
    if not base:
        raise InputError(f"{sources.results / name} has no run of the base, {name}_base.json")
    shared = base[0]["networks"][0]["changed"]

    def flags(settings: dict[str, Any]) -> str:
        parts = [
            as_words({key: value})
            for key, value in settings.items()
            if key != "seed" and shared.get(key) != value
        ]
        return " ".join(f"`{' '.join(words)}`" for words in parts)

    variants: dict[str, list[Result]] = {}
    for result in results.values():
        if result not in base:
            variants.setdefault(flags(result["networks"][0]["changed"]), []).append(result)

    def accuracies(of_variant: list[Result]) -> list[float]:
        return [_accuracy(result, "validation") for result in of_variant]

    levels = accuracies(base)
    ordered = sorted(variants.items(), key=lambda pair: -statistics.mean(accuracies(pair[1])))
    rows = []
    for changed, of_variant in [("the base", base), *ordered]:
        scores = [result["evaluation"]["splits"]["validation"] for result in of_variant]
        found = accuracies(of_variant)
        gain = statistics.mean(found) - statistics.mean(levels)
        spread = max((statistics.stdev(of) for of in (levels, found) if len(of) > 1), default=0)
        near = ", within the spread" if abs(gain) <= spread else ""
        against = NOTHING if of_variant is base else f"{100 * gain:+.1f}{near}"
        rows.append(
            f"{changed} | {_over_seeds(of_variant, 'validation')} | {against} | "
            f"{_mean(split['macro_f1'] for split in scores)} | "
            f"{statistics.mean(split['loss'] for split in scores):.3f} | {len(scores)}"
        )
    seen = {_without_seed(run) for run in results}
    for plan in sorted((sources.recipes / "campaigns").glob("*.yaml")):
        for entry in read_plan(plan, sources.recipes):
            if entry.study == name and _without_seed(entry.name) not in seen:
                seen.add(_without_seed(entry.name))
                rows.append(f"{flags(entry.settings)} | not yet run | – | – | – | –")
    return _table("changed | validation | against the base | macro F1 | log loss | seeds", rows)


def _without_seed(name: str) -> str:
    return re.sub(r"_seed\d+$", "", name)


@TABLES.register("peers")
def _peers(sources: Sources, _: str) -> str:
    """Return a row per package that carries a model, what benchmarks/peers wrote of it."""
    rows = []
    results = read_results(sources.results / "peers").values()
    for peer in sorted(results, key=lambda peer: -_seven(peer, "validation")["accuracy"]):
        validation, test = (_seven(peer, split) for split in ("validation", "test"))
        megabytes = sum(file["bytes"] for file in peer["weights"].values()) / 1e6
        several = sum(other["package"] == peer["package"] for other in results) > 1
        which = f", {', '.join(peer['weights'])}" if several else ""
        rows.append(
            f"`{peer['package']}` {peer['version']}{which} | {peer['licence']} | {megabytes:.1f} | "
            f"{_with_interval(validation)} | {_with_interval(test)} | "
            f"{_percent(test['macro_f1'])} | "
            f"{_percent(peer['splits']['test']['FERPlus']['accuracy'])} | "
            f"{peer['faces_per_second']:,.0f}"
        )
    heads = "package | licence | weights, MB | validation | test | macro F1 | test, eight classes"
    return _table(f"{heads} | faces/s of one core", rows)


def _seven(peer: Result, split: str) -> dict[str, Any]:
    """Return a peer's scores without the faces labelled contempt."""
    return peer["splits"][split]["FERPlus7"]


def _published_figures(page: Path) -> dict[str, str]:
    """Return the column `published` of a page's table of recipes, by recipe, in its order."""
    text = page.read_text(encoding="utf-8")
    lines = text[text.index("| recipe |") :].split("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    column = heads.index("published")
    return {re.findall(r"`(\w+)`", row[0])[0]: row[column] for row in rows}


def _networks(sources: Sources) -> list[dict[str, Any]]:
    """Return every training behind the results, once."""
    found = {}
    for result in read_results(sources.results).values():
        for network in result["networks"]:
            found.setdefault(network["name"], network)
    return [found[name] for name in sorted(found)]


def _accuracy(result: Result, split: str, part: str | None = None) -> float | None:
    """Return an accuracy of a split, of its leak-free rows or under another label rule."""
    scores = result["evaluation"]["splits"].get(split)
    if scores and part == "leak_free":
        scores = scores["leak_free"]
    elif scores and part and part != result["evaluation"]["label_rule"]:
        scores = scores["label_rules"].get(part)
    return scores and scores["accuracy"]


def _over_seeds(results: list[Result], split: str) -> str:
    """Return one run's accuracy with its interval, or mean and standard deviation of several."""
    values = [_accuracy(result, split) for result in results]
    if None in values:
        return NOTHING
    if len(values) > 1:
        return f"{_mean(values)} ± {100 * statistics.stdev(values):.2f}"
    return _with_interval(results[0]["evaluation"]["splits"][split])


def _with_interval(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_interval"]
    return f"{_percent(scores['accuracy'])} ({100 * low:.1f}–{100 * high:.1f})"


def _mean(values: Iterable[float | None]) -> str:
    values = list(values)
    return NOTHING if None in values else _percent(statistics.mean(values))


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def _table(heads: str, rows: list[str]) -> str:
    rule = " | ".join(["---"] * len(heads.split(" | ")))
    return "\n".join(f"| {line} |" for line in [heads, rule, *rows])
