"""Kept results as the tables of a Markdown page."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ferplus_keras.errors import InputError, unknown
from ferplus_keras.results.plan import Job, read_plan

MARK = re.compile(r"(<!-- results: (\w+) ?(\S*) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A table's place: `<!-- results: KIND [NAME] -->` … `<!-- end -->`."""

NOTHING = "–"


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


def fill(text: str, sources: Sources) -> str:
    """Return a Markdown text with every marked table made anew.

    Raises:
        InputError: a mark names an unknown table, or a result cannot be read.
    """

    def table(found: re.Match) -> str:
        begin, kind, name, end = found.groups()
        if kind not in TABLES:
            raise unknown("table", kind, TABLES)
        return f"{begin}{TABLES[kind](sources, name)}\n{end}"

    return MARK.sub(table, text)


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of a folder by name, in the order of the names.

    Raises:
        InputError: there is none, or a file is no result or has another name than its result.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            found[result["name"]] = result
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no result: {error}") from None
        if result["name"] != path.stem:
            raise InputError(f"{path} holds the result {result['name']}: rename one of them")
    if not found:
        raise InputError(f"no results (*.json) in {folder}")
    return found


def recipes_table(sources: Sources, name: str = "") -> str:
    """Return a row for every recipe: what was published and what it reached here."""
    runs: dict[str, list[dict]] = {}
    for result in read_results(sources.results).values():
        if _is_recipe_itself(result):
            runs.setdefault(result["networks"][0]["recipe"], []).append(result)
    rows = []
    for recipe, published in published_figures(sources.published).items():
        shown = f"[`{recipe}`]({sources.recipes.name}/{recipe}.yaml)"
        if not (sources.recipes / f"{recipe}.yaml").is_file():
            raise InputError(f"{sources.published} names a recipe {recipe} that is not there")
        if recipe not in runs:
            rows.append([shown, published, "not yet run", *[NOTHING] * 5])
            continue
        of_recipe = runs[recipe]
        judged = of_recipe[0]["evaluation"]
        rule = judged["label_rule"] if judged["dataset_name"].startswith("FERPlus") else NOTHING
        rows.append(
            [
                shown,
                published,
                _over_seeds(of_recipe, "validation"),
                _over_seeds(of_recipe, "test"),
                _mean(_accuracy(result, "test", "leak_free") for result in of_recipe),
                _mean(_accuracy(result, "test", "ms_majority") for result in of_recipe),
                rule,
                str(len(of_recipe)),
            ]
        )
    heads = ["recipe", "published", "validation", "test", "without leaks", "by `ms_majority`"]
    return _table([*heads, "judged by", "seeds"], rows)


def evaluations_table(sources: Sources, name: str = "") -> str:
    """Return a row for every result, those of one recipe together, the best of them first."""
    results = sorted(
        read_results(sources.results).values(),
        key=lambda result: (
            [network["recipe"] for network in result["networks"]],
            -_accuracy(result, "validation"),
        ),
    )
    rows = []
    for result in results:
        judged, networks = result["evaluation"], result["networks"]
        tta = judged["tta"] if judged["tta"] != "none" else NOTHING
        if judged["average"] != "probabilities":
            tta += f", {judged['average']}"
        rows.append(
            [
                f"`{result['name']}`",
                " + ".join(dict.fromkeys(network["model"] for network in networks))
                + (f" ×{len(networks)}" if len(networks) > 1 else ""),
                f"{sum(network['parameters'] for network in networks):,}",
                tta,
                *(_with_interval(judged["splits"].get(split)) for split in ("validation", "test")),
                *(
                    _percent(_accuracy(result, "test", part))
                    for part in ("leak_free", "ms_majority")
                ),
                _percent(judged["splits"].get("test", {}).get("macro_f1")),
            ]
        )
    heads = ["result", "network", "parameters", "views", "validation", "test", "without leaks"]
    return _table([*heads, "by `ms_majority`", "macro F1"], rows)


def runs_table(sources: Sources, name: str = "") -> str:
    """Return a row for every training: length, speed, machine and source."""
    rows = []
    for network in _networks(sources):
        hours, minutes = divmod(round(network["seconds"] / 60), 60)
        rows.append(
            [
                f"`{network['name']}`",
                str(network["seed"]),
                f"{network['train_rows']:,}",
                f"{network['epoch']} of {network['epochs']}",
                f"{hours}:{minutes:02} h",
                f"{network['images_per_second']:,.0f}",
                _machine(network["hardware"]),
                f"{network['backend']}, Keras {network['versions']['keras']}",
                f"`{network['commit'][:8]}`" if network["commit"] else NOTHING,
            ]
        )
    heads = ["run", "seed", "rows", "chosen epoch", "time", "images/s", "hardware", "backend"]
    return _table([*heads, "commit"], rows)


def commands(sources: Sources, name: str = "") -> str:
    """Return the commands of every training and evaluation as a block."""
    lines = [f"{network['command']} --data_dir D" for network in _networks(sources)]
    lines += [result["evaluation"]["command"] for result in read_results(sources.results).values()]
    return "\n".join(["```sh", *lines, "```"])


def rules_table(sources: Sources, name: str) -> str:
    """Return what one result is under every label rule."""
    results = read_results(sources.results)
    if name not in results:
        raise unknown("result", name, results)
    judged = results[name]["evaluation"]
    splits = judged["splits"]
    rule = judged["label_rule"]
    rows = [
        [f"`{rule}`", *(_of_rows(split) for split in splits.values())],
        ["– without leaks", *(_of_rows(split["leak_free"]) for split in splits.values())],
    ]
    for other in next(iter(splits.values()))["label_rules"]:
        rows.append(
            [f"`{other}`", *(_of_rows(split["label_rules"][other]) for split in splits.values())]
        )
    return _table(["label rule", *splits], rows)


def study_table(sources: Sources, name: str) -> str:
    """Return a row for every variant of a study: what it changes and what that gives.

    A study is a folder of results. Those called base, or base_seed1 and so on, behind the folder's
    name, are its base. What a campaign's plan has and the folder lacks is "not yet run".
    """
    results = read_results(sources.results / name)
    base = [result for run, result in results.items() if run.startswith(f"{name}_base")]
    if not base:
        raise InputError(f"{sources.results / name} has no run of the base, {name}_base.json")
    shared = base[0]["networks"][0]["changed"]

    def said(settings: dict[str, Any]) -> str:
        return _said({key: value for key, value in settings.items() if shared.get(key) != value})

    variants: dict[str, list[dict]] = {}
    for result in results.values():
        if result not in base:
            variants.setdefault(said(result["networks"][0]["changed"]), []).append(result)
    level = statistics.mean(_accuracy(result, "validation") for result in base)
    ordered = sorted(variants.items(), key=lambda pair: -_accuracy(pair[1][0], "validation"))
    rows = []
    for changed, of_variant in [("the base", base), *ordered]:
        of_splits = [result["evaluation"]["splits"]["validation"] for result in of_variant]
        mean = statistics.mean(scores["accuracy"] for scores in of_splits)
        rows.append(
            [
                changed,
                _over_seeds(of_variant, "validation"),
                NOTHING if of_variant is base else f"{100 * (mean - level):+.1f}",
                _mean(scores["macro_f1"] for scores in of_splits),
                f"{statistics.mean(scores['loss'] for scores in of_splits):.3f}",
                str(len(of_variant)),
            ]
        )
    for job in _planned(sources, name):
        if job.name not in results:
            rows.append([said(job.settings) or "the base", "not yet run", *[NOTHING] * 4])
    heads = ["changed", "validation", "against the base", "macro F1", "log loss", "seeds"]
    return _table(heads, rows)


TABLES: dict[str, Callable[[Sources, str], str]] = {
    "recipes": recipes_table,
    "evaluations": evaluations_table,
    "runs": runs_table,
    "commands": commands,
    "rules": rules_table,
    "study": study_table,
}
"""Every table by the name that its mark has."""


def published_figures(page: Path) -> dict[str, str]:
    """Return the column `published` of a page's table of recipes, by recipe, in its order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("| recipe |"))
    column = _cells(lines[head]).index("published")
    found = {}
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            break
        cells = _cells(line)
        found[re.findall(r"`(\w+)`", cells[0])[0]] = cells[column]
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _planned(sources: Sources, study: str) -> list[Job]:
    """Return the runs of a study that a campaign's plan has."""
    plans = sorted((sources.recipes / "campaigns").glob("*.yaml"))
    jobs = [job for plan in plans for job in read_plan(plan, sources.recipes)]
    return [job for job in jobs if job.study == study]


def _is_recipe_itself(result: dict[str, Any]) -> bool:
    """Return whether a result is a recipe's own: one network, nothing changed but the seed."""
    networks = result["networks"]
    return (
        len(networks) == 1 and not networks[0]["changed"] and result["name"] == networks[0]["name"]
    )


def _networks(sources: Sources) -> list[dict[str, Any]]:
    """Return every training behind the results, once."""
    found = {}
    for result in read_results(sources.results).values():
        for network in result["networks"]:
            found.setdefault(network["name"], network)
    return [found[name] for name in sorted(found)]


def _accuracy(result: dict[str, Any], split: str, part: str | None = None) -> float | None:
    """Return an accuracy of a split, of its leak-free rows or under another label rule."""
    scores = result["evaluation"]["splits"].get(split)
    if scores is None or part is None:
        return scores and scores["accuracy"]
    if part == "leak_free":
        return scores["leak_free"]["accuracy"]
    if part == result["evaluation"]["label_rule"]:
        return scores["accuracy"]
    return scores["label_rules"].get(part, {}).get("accuracy")


def _over_seeds(results: list[dict[str, Any]], split: str) -> str:
    """Return one run's accuracy with its interval, or mean and standard deviation of several."""
    if len(results) == 1:
        return _with_interval(results[0]["evaluation"]["splits"].get(split))
    values = [_accuracy(result, split) for result in results]
    if None in values:
        return NOTHING
    return f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}"


def _mean(values: Iterable[float | None]) -> str:
    values = list(values)
    return NOTHING if None in values else _percent(statistics.mean(values))


def _with_interval(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return NOTHING
    low, high = scores["accuracy_interval"]
    return f"{_percent(scores['accuracy'])} ({100 * low:.1f}–{100 * high:.1f})"


def _of_rows(scores: dict[str, Any]) -> str:
    return f"{_percent(scores['accuracy'])} of {scores['n']:,}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def _said(changed: dict[str, Any]) -> str:
    """Return changed settings as flags."""
    words = []
    for key, value in changed.items():
        values = value if isinstance(value, list) else [value]
        words.append(f"`--{key} {' '.join(map(str, values))}`")
    return " ".join(words)


def _machine(hardware: dict[str, Any]) -> str:
    if hardware["gpus"]:
        return ", ".join(hardware["gpus"])
    cores = "1 core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
    return f"{cores} of {hardware['processor']}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
