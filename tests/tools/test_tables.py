"""Tables from results, and the page RESULTS.md, which holds nothing else's."""

import copy
import json
import re
import statistics

import pytest
from matplotlib.figure import Figure

from ferplus_keras.classifier import Classifier
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config
from ferplus_keras.data.dataset import open_source
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.errors import InputError
from ferplus_keras.training.schedules import plan_stages
from tests.conftest import REPOSITORY
from tools.results import draw_histories, main
from tools.tables import MARK, TABLES, Sources, fill, read_results

OWN = Sources(REPOSITORY / "results", REPOSITORY / "recipes", REPOSITORY / "docs" / "recipes.md")
BUNDLED = REPOSITORY / "ferplus_keras" / "inference" / "fast_fer.onnx"
PEERS = OWN.results / "peers"
FILES = sorted({*OWN.results.rglob("*.json")} - {*PEERS.iterdir()})


def test_the_page_is_what_the_files_say():
    text = (REPOSITORY / "RESULTS.md").read_text(encoding="utf-8")
    kinds = {kind for _, kind, *_ in MARK.findall(text)}
    assert {"recipes", "evaluations", "runs", "commands", "rules", "peers"} <= kinds
    made = fill(text, OWN)
    assert made == text, "run: python tools/results.py tables RESULTS.md"


def test_every_recipe_has_a_row_with_its_figure_or_not_yet_run():
    table = TABLES["recipes"](OWN, "")
    rows = {re.search(r"`(\w+)`", row)[1]: row for row in table.splitlines()[2:]}
    assert set(rows) == {path.stem for path in OWN.recipes.glob("*.yaml")} - {"demo"}
    ran = {
        network["recipe"]
        for result in read_results(OWN.results).values()
        for network in result["networks"]
        if network["changed"].keys() <= {"mixed_precision"}
    }
    assert "compact_fer" in ran
    for recipe, row in rows.items():
        assert ("not yet run" in row) == (recipe not in ran)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kept_results_are_whole_and_their_commands_are_read(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    result = json.loads(path.read_text(encoding="utf-8"))
    evaluation = result["evaluation"]
    read_config(EvaluateConfig, evaluation["command"].split()[2:], "test.py")
    for scores in evaluation["splits"].values():
        low, high = scores["accuracy_interval"]
        assert 0 < low < scores["accuracy"] < high < 1
    for network in result["networks"]:
        config = read_config(TrainConfig, network["command"].split()[2:], "train.py")
        assert (config.model_name, config.seed) == (network["model"], network["seed"])
        assert network["epoch"] <= network["epochs"] == len(network["history"]["loss"])
        assert network["epochs"] <= sum(stage.epochs for stage in plan_stages(config))
        assert network["hardware"]["processor"] or network["hardware"]["gpus"]
        assert re.fullmatch("[0-9a-f]{40}", network["commit"] or "0" * 40)
        assert re.fullmatch("[0-9a-f]{64}", network["checkpoint_sha256"])


def test_kept_accuracy_by_sets_of_right_classes_is_that_of_a_plain_loop(real_data):
    kept = read_results(OWN.results)["fast_fer"]["evaluation"]["splits"]["test"]
    source = open_source(str(real_data), "FERPlus", None)
    split = source.split("test", LABEL_RULES["ms_multi_target"])
    right = 0
    probabilities = Classifier.open(BUNDLED).probabilities(split.images)
    for target, row in zip(split.targets, probabilities, strict=True):
        right += target[list(row).index(max(row))] > 0
    under_rule = kept["label_rules"]["ms_multi_target"]
    assert under_rule["n"] == len(split.images)
    assert under_rule["accuracy"] == pytest.approx(
        right / len(split.images), abs=5e-3
    )  # of 8-bit integers


def scores(accuracy, n=100):
    brief = {"n": n, "accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1]}
    more = {"macro_f1": accuracy / 2, "loss": 1 - accuracy, "leak_free": brief}
    return {**brief, **more, "label_rules": {"ms_majority": {**brief, "n": 90}}}


def result(name, validation, test=None, recipe="first", seed=0, **changed):
    splits = {"validation": scores(validation)} | ({"test": scores(test)} if test else {})
    network = {
        "name": name,
        "recipe": recipe,
        "changed": changed,
        "command": f"python train.py --config recipes/{recipe}.yaml --name {name}",
        "model": "CompactFER",
        "checkpoint": "model_max_acc.keras",
        "checkpoint_sha256": "0" * 64,
        "parameters": 1000,
        "train_rows": 500,
        "seed": seed,
        "epochs": 4,
        "epoch": 3,
        "seconds": 3725,
        "images_per_second": 100,
        "commit": None,
        "hardware": {"processor": "P", "cores": 2, "gpus": []},
        "backend": "jax",
        "versions": {"keras": "3"},
        "history": {"val_accuracy": [validation / 2, validation]},
    }
    evaluation = {
        "command": f"python test.py --checkpoint_path checkpoints/{name}",
        "splits": splits,
    }
    evaluation |= {"dataset_name": "FERPlus", "label_rule": "majority", "tta": "none"}
    evaluation |= {"average": "probabilities"}
    return {"name": name, "evaluation": evaluation, "networks": [network]}


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "recipes").mkdir()
    for recipe in ("first", "second"):
        (tmp_path / "recipes" / f"{recipe}.yaml").write_text("model_name: CompactFER")
    page = tmp_path / "recipes.md"
    page.write_text(
        "| recipe | network | published |\n| --- | --- | --- |\n"
        "| [`first`](x) | A | 80 / 81 |\n| [`second`](x) | B | – |\n\nend"
    )
    (tmp_path / "results").mkdir()
    return Sources(tmp_path / "results", tmp_path / "recipes", page)


def keep(folder, *results):
    folder.mkdir(exist_ok=True)
    for found in results:
        (folder / f"{found['name']}.json").write_text(json.dumps(found))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_one_run_has_an_interval_and_several_have_a_spread(sources):
    keep(sources.results, result("first", 0.8, 0.7))
    first, second = TABLES["recipes"](sources, "").splitlines()[2:]
    assert cells(first)[1:] == [
        "80 / 81", "80.00 (70.0–90.0)", "70.00 (60.0–80.0)", "70.00", "70.00", "majority", "1",
    ]  # fmt: skip
    assert cells(second)[1:3] == ["–", "not yet run"]
    keep(sources.results, result("first_seed1", 0.82, 0.74, seed=1, mixed_precision="bfloat16"))
    keep(sources.results, result("first_longer", 0.99, 0.99, nepochs=9))  # another recipe's figure
    first = TABLES["recipes"](sources, "").splitlines()[2]
    (sources.recipes / "second.yaml").unlink()
    with pytest.raises(InputError, match="names a recipe second that is not there"):
        TABLES["recipes"](sources, "")
    spread = 100 * statistics.stdev([0.7, 0.74])
    assert cells(first)[3] == f"72.00 ± {spread:.2f}"
    assert cells(first)[-1] == "2"


def test_ensembles_and_views_have_rows_of_their_own(sources):
    single = result("first", 0.8, 0.7)
    flipped = copy.deepcopy(single) | {"name": "first_flip"}
    flipped["evaluation"] |= {"tta": "flip", "average": "logits"}
    pair = result("pair", 0.9, 0.85)
    pair["networks"] = [single["networks"][0], result("other", 0.8, recipe="second")["networks"][0]]
    keep(sources.results, single, flipped, pair)
    rows = {cells(line)[0]: cells(line) for line in TABLES["evaluations"](sources, "").splitlines()}
    assert rows["`pair`"][1:3] == ["CompactFER ×2", "2,000"]
    assert rows["`first_flip`"][3] == "flip, logits"
    assert cells(TABLES["recipes"](sources, "").splitlines()[2])[-1] == "1"
    runs = [cells(line)[0] for line in TABLES["runs"](sources, "").splitlines()[2:]]
    assert runs == ["`first`", "`other`"]
    assert cells(TABLES["runs"](sources, "").splitlines()[2])[3:5] == ["3 of 4", "1:02 h"]
    block = TABLES["commands"](sources, "").splitlines()
    assert sum(line.startswith("python train.py") for line in block) == 2
    assert sum(line.startswith("python test.py") for line in block) == 3


def test_a_study_sets_variants_against_the_mean_of_the_base(sources):
    keep(
        sources.results / "short",
        result("short_base", 0.78, nepochs=8),
        result("short_base_seed1", 0.80, seed=1, nepochs=8),
        result("short_mixup", 0.74, nepochs=8, mixup=0.2),
        result("short_mixup_seed1", 0.76, seed=1, nepochs=8, mixup=0.2),
        result("short_hard", 0.81, nepochs=8, label_rule="majority"),
        result("short_longer", 0.80, nepochs=16),
    )
    base, best, longer, worst = map(cells, TABLES["study"](sources, "short").splitlines()[2:])
    assert base[0] == "the base"
    assert base[1].startswith("79.00 ± ")
    assert best[:3] == ["`--label_rule majority`", "81.00 (71.0–91.0)", "+2.0"]
    assert longer[:3] == ["`--nepochs 16`", "80.00 (70.0–90.0)", "+1.0, within the spread"]
    assert worst[:3] == [
        "`--mixup 0.2`",
        f"75.00 ± {100 * statistics.stdev([0.74, 0.76]):.2f}",
        "-4.0",
    ]
    assert (longer[-1], worst[-1]) == ("1", "2")
    (sources.recipes / "campaigns").mkdir()
    (sources.recipes / "campaigns" / "plan.yaml").write_text(
        "study: {name: short, recipe: first, seeds: [0, 1], settings: {nepochs: 8},\n"
        "        variants: {mixup: {mixup: 0.2}, hot: {init_lr: 0.5}}}"
    )
    *ran, missing = TABLES["study"](sources, "short").splitlines()
    assert cells(missing)[:2] == ["`--init_lr 0.5`", "not yet run"]
    assert len(ran) == 6
    for base in (sources.results / "short").glob("short_base*"):
        base.unlink()
    with pytest.raises(InputError, match="no run of the base"):
        TABLES["study"](sources, "short")


def test_packages_stand_in_the_order_of_their_accuracy(sources):
    def peer(name, accuracy):
        brief = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1]}
        seven = {"validation": brief, "test": brief | {"accuracy": 0.5, "macro_f1": 0.25}}
        return {
            "name": name,
            "package": f"@{name}",
            "version": "1.0",
            "licence": "MIT",
            "weights": {"a": {"bytes": 2_000_000}, "b": {"bytes": 345_000}},
            "faces_per_second": 1234.5,
            "splits": {
                split: {"FERPlus7": scores, "FERPlus": scores | {"accuracy": 0.4}}
                for split, scores in seven.items()
            },
        }

    keep(sources.results / "peers", peer("low", 0.6), peer("own", 0.8))
    best, worst = map(cells, TABLES["peers"](sources, "").splitlines()[2:])
    assert best[:4] == ["`@own` 1.0", "MIT", "2.3", "80.00 (70.0–90.0)"]
    assert best[4:] == ["50.00 (70.0–90.0)", "25.00", "40.00", "1,234"]
    assert worst[3] == "60.00 (50.0–70.0)"


@pytest.mark.parametrize("path", sorted(PEERS.iterdir()), ids=lambda path: path.stem)
def test_kept_figures_of_packages_are_whole(path):
    peer = json.loads(path.read_text(encoding="utf-8"))
    assert peer["name"] == path.stem
    assert peer["faces_per_second"] > 0
    assert all(len(file["sha256"]) == 64 for file in peer["weights"].values())
    rows = {"validation": (3291, 3305), "test": (3262, 3275)}
    for split, counts in rows.items():
        seven, eight = (peer["splits"][split][name] for name in ("FERPlus7", "FERPlus"))
        assert (seven["n"], eight["n"]) == counts
        low, high = seven["accuracy_interval"]
        assert low < seven["accuracy"] < high
        if "contempt" not in peer["classes"]:  # the faces that count beside the seven are all wrong
            right = [round(scores["accuracy"] * scores["n"]) for scores in (seven, eight)]
            assert right[0] == right[1]


def test_marked_tables_are_replaced_and_all_else_stays(sources, tmp_path, capsys):
    keep(sources.results, result("first", 0.8, 0.7))
    page = tmp_path / "PAGE.md"
    page.write_text("before\n<!-- results: rules first -->\nold\n<!-- end -->\nafter\n")
    words = ["tables", str(page), "--results_dir", str(sources.results)]
    assert main(words) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- results: rules first -->\n| label rule | validation |")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert "`majority` | 80.00 of 100 | 70.00 of 100" in text
    assert "`ms_majority` | 80.00 of 90 |" in text


def test_curves_have_a_panel_for_each_data_set(sources, tmp_path, monkeypatch):
    other = result("other", 0.6)
    other["evaluation"]["dataset_name"] = "FER"
    keep(sources.results, result("first", 0.8), result("next", 0.9), other)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: drawn.append(figure))
    path = tmp_path / "curves.png"
    path.touch()
    with pytest.raises(InputError, match=r"cannot write .*curves\.png"):  # nothing was saved
        draw_histories(read_results(sources.results), path)
    fer, plus = drawn[0].axes
    assert [axes.get_title() for axes in (fer, plus)] == ["FER", "FERPlus"]
    assert [list(line.get_ydata()) for line in plus.lines] == [[45, 90], [40, 80]]
    monkeypatch.undo()
    words = ["curves", str(path), "--results_dir", str(sources.results)]
    assert main(words) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("rows", "unknown table 'rows'"),
        ("rules second", "unknown result 'second'"),
        ("study long", "no results"),
    ],
)
def test_what_is_not_there_is_refused_and_the_page_stays(sources, tmp_path, capsys, mark, said):
    keep(sources.results, result("first", 0.8, 0.7))
    page = tmp_path / "PAGE.md"
    text = f"<!-- results: {mark} -->\nold\n<!-- end -->\n"
    page.write_text(text)
    assert main(["tables", str(page), "--results_dir", str(sources.results)]) != 0
    assert said in capsys.readouterr().err
    assert page.read_text() == text


def test_prose_after_a_mark_without_its_end_stays(sources, tmp_path, capsys):
    keep(sources.results, result("first", 0.8, 0.7))
    page = tmp_path / "PAGE.md"
    text = (
        "<!-- results: rules first -->\nold\n\nprose\n"
        "<!-- results: runs -->\nold\n<!-- end -->\nmore\n"
    )
    for broken in (text, text.replace("<!-- end -->\n", "")):
        page.write_text(broken)
        assert main(["tables", str(page), "--results_dir", str(sources.results)]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "no <!-- end --> after the mark <!-- results: rules first -->" in line
        assert page.read_text() == broken


def test_a_file_that_is_no_result_is_named(sources):
    (sources.results / "odd.json").write_text("[")
    with pytest.raises(InputError, match=r"cannot read .*odd\.json"):
        read_results(sources.results)
    keep(sources.results, result("first", 0.8) | {"name": "odd"})
    (sources.results / "odd.json").rename(sources.results / "even.json")
    with pytest.raises(InputError, match=r"even\.json holds the result odd"):
        read_results(sources.results)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("evaluation.splits", {}),
        ("evaluation.splits.validation.accuracy", "high"),
        ("evaluation.splits.validation.accuracy_interval", [0.5]),
        ("evaluation.splits.test.label_rules", {}),
        ("networks", []),
        ("networks.0.hardware", "P"),
    ],
)
def test_an_edited_result_is_refused_in_one_line(sources, place, value, tmp_path, capsys):
    edited = result("one", 0.5, 0.4)
    *way, last = place.split(".")
    inside = edited
    for key in way:
        inside = inside[int(key) if key.isdecimal() else key]
    inside[last] = value
    (sources.results / "one.json").write_text(json.dumps(edited))
    page = tmp_path / "page.md"
    marks = ("rules one", "evaluations", "runs", "recipes")
    text = "".join(f"<!-- results: {mark} -->\n<!-- end -->\n" for mark in marks)
    page.write_text(text)
    words = ["tables", str(page), "--results_dir", str(sources.results)]
    assert main([*words, "--published", str(sources.published)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: a result in {sources.results} was edited: ")
    assert page.read_text() == text
