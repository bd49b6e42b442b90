"""Model cards, and runs that travel by way of a stand-in for the Hugging Face Hub."""

import dataclasses
import json
import re
import shlex
import shutil
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from ferplus_keras import run as run_module
from ferplus_keras.classifier import Classifier
from ferplus_keras.cli import main
from ferplus_keras.config import EvaluateConfig, TrainConfig
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.card import make_card
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.evaluation.metrics import wilson
from ferplus_keras.formats import KEY
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.models.info import info_to_json
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.run import LIGHT, Run, find_checkpoint, require_place
from ferplus_keras.training.settle import starting_weights
from ferplus_keras.training.train import train
from tests import hub_server, tiny
from tests.exports import drawn


@pytest.fixture(scope="module")
def run(sample_data, tmp_path_factory):
    """Return the folder of a trained and evaluated run of the tiny network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
        runs = tmp_path_factory.mktemp("runs")
        folder = train(tiny.config(sample_data, runs, name="faces", nepochs=1, limit_train=64))
        evaluate(EvaluateConfig(checkpoint_path=(str(folder),)))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return the files of a stand-in for the Hub, which the client takes for the real one."""
    pytest.importorskip("huggingface_hub")

    class Hub(hub_server.Hub):
        files, objects = {}, {}

    def forget():  # the client reads its environment once
        for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
            del sys.modules[name]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # the stand-in stores large files as LFS
    forget()
    yield Hub.files
    forget()
    server.shutdown()
    server.server_close()


def test_a_card_names_the_owners_of_the_data(run, monkeypatch):
    report, record = Run(run).report(), Run(run).record()
    for name, files, pictures, votes in (
        ("FERPlus", report["data"], True, True),
        ("FER", {"fer2013.csv": "12"}, True, False),
        ("Folder", {"pictures": "12"}, False, False),
    ):
        (rule, *_) = DATASETS[name].rules
        changed = report | {"dataset_name": name, "label_rule": rule, "data": files}
        monkeypatch.setattr(Run, "report", lambda self, changed=changed: changed)
        trained = record | {"label_counts": {"dataset_name": name}, "data": files}
        monkeypatch.setattr(Run, "record", lambda self, trained=trained: trained)
        card = make_card(Run(run))
        assert ("FER2013's pictures belong to their owners" in card) is pictures
        assert ("FER+'s votes are under the MIT licence" in card) is votes


def test_own_class_names_do_not_break_the_tables_of_a_card(run, monkeypatch):
    report = json.loads(json.dumps(Run(run).report()).replace('"disgust"', '"a|<i>"'))
    monkeypatch.setattr(Run, "report", lambda self: report)
    card = make_card(Run(run))
    assert "| a&#124;&lt;i&gt; | " in card
    assert "a|<i>" not in card.partition("# faces")[2]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("run.json", {"weights": 5}),
        ("run.json", {"epochs": {}, "train_rows": "many"}),
        ("report.json", {"splits": []}),
        ("report.json", {"dataset_name": []}),
        ("config.yaml", {"seed": [["--overwrite"]], "name": 3, 5: 6}),
    ],
)
def test_edited_files_give_one_line_or_a_card(run, tmp_path, capsys, name, change):
    written = (run / name).read_text()
    (run / name).write_text(json.dumps(yaml.safe_load(written) | change))
    code = main(["card", str(run), "--output", str(tmp_path / "card.md")])
    (run / name).write_text(written)
    said = capsys.readouterr().err.splitlines()
    assert (code, len(said)) in ((0, 0), (1, 1))
    if code:
        assert str(run) in said[0]
        assert name in said[0]
    else:
        assert name == "config.yaml"


def test_the_card_says_what_run_and_report_say(run, tmp_path, capsys):
    target = tmp_path / "card.md"
    assert main(["card", str(run), "--license", "mit", "--output", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    text = target.read_text(encoding="utf-8")
    report, record = Run(run).report(), Run(run).record()
    _, block, body = text.split("---\n", 2)
    metadata = yaml.safe_load(block)
    assert metadata["license"] == "mit"
    assert metadata["pipeline_tag"] == "image-classification"
    (index,) = metadata["model-index"]
    found = {of["dataset"]["split"]: of["metrics"] for of in index["results"]}
    for split, scores in report["splits"].items():
        values = {metric["type"]: metric["value"] for metric in found[split]}
        assert values["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-5)
        assert values["f1"] == pytest.approx(scores["macro_f1"], abs=1e-5)
        for name, of in scores["per_class"].items():
            low, high = wilson(of["recall"], of["support"])
            interval = f"({100 * low:.1f} to {100 * high:.1f}"
            assert re.search(rf"\| {name} \| {of['support']} \| .*{re.escape(interval)}", body)
    for digest in (report["checkpoint_sha256"], *report["data"].values()):
        assert digest in body
    assert f"Trained on {record['train_rows']} rows" in body
    assert "(a trial)" in body
    assert "Distilled" not in body
    assert "one training" in body
    assert "random weights" in body
    assert "FER+'s votes are under the MIT licence" in body
    for scores in report["splits"].values():
        for rule, of in scores["label_rules"].items():
            share = f"{100 * of['accuracy']:.1f}\N{NO-BREAK SPACE}%"
            assert f"{rule} {share} of {of['n']}" in body
    assert "--limit_train 64" in body
    assert "None" not in body
    assert f'Predictor("{run}/model_max_acc.keras")' in body


def test_the_commands_of_the_card_can_be_pasted_into_a_shell(run, tmp_path):
    folder = tmp_path / "my people"
    shutil.copytree(run, folder)
    settings = Run(folder).settings() | {"group": "^S[0-9]+ (left|right)"}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert main(["card", str(folder)]) == 0
    text = (folder / "model_card.md").read_text()
    (line,) = re.findall("^python train.py.*$", text, re.MULTILINE)
    assert "^S[0-9]+ (left|right)" in shlex.split(line)
    (line,) = re.findall("^`(python train.py.*)` starts from it", text, re.MULTILINE)
    assert shlex.split(line)[-1] == f"{folder}/model_max_acc.keras"


def test_the_card_names_the_teachers_and_the_weights(run, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    teachers = [{"path": f"/home/me/{digit}.keras", "sha256": digit * 64} for digit in "ab"]
    weights = {"path": "/home/me/vgg.h5", "sha256": "c" * 64}
    more = {"teachers": teachers, "weights": weights}
    (folder / "run.json").write_text(json.dumps(record | more))
    assert main(["card", str(folder), "--license", "no: [licence"]) == 0
    text = (folder / "model_card.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "no: [licence"
    assert f"\n- Started from vgg.h5, SHA-256 `{'c' * 64}`.\n" in text
    (line,) = re.findall("^- Distilled.*$", text, re.MULTILINE)
    assert "2 trained networks" in line
    assert all("`" + digit * 64 + "`" in line for digit in "ab")
    assert "/home/me" not in text


def test_intervals_of_recall():
    # Wilson's interval of 8 of 10, as in textbooks.
    assert wilson(0.8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)
    low, high = wilson(1.0, 5)
    assert 0 < low < high <= 1
    assert wilson(None, 0) is None


def test_a_run_without_a_report_of_its_model_is_refused(run, tmp_path, capsys):
    assert main(["card", str(tmp_path)]) == 1
    assert "run.json" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    for name in ("run.json", "config.yaml", "model_max_acc.keras"):
        (other / name).write_bytes((run / name).read_bytes())
    assert main(["card", str(other)]) == 1
    assert "test.py first" in capsys.readouterr().err
    report = json.loads((run / "report.json").read_text()) | {"checkpoint_sha256": "0" * 64}
    (other / "report.json").write_text(json.dumps(report))
    assert main(["card", str(other)]) == 1
    assert "test.py again" in capsys.readouterr().err
    report = json.loads((run / "report.json").read_text())
    for own in ({"dataset_name": "Folder"}, {"data": report["data"] | {"fer2013.csv": "0" * 64}}):
        (other / "report.json").write_text(json.dumps(report | own))
        assert main(["card", str(other)]) == 1
        expected = "is not of the FERPlus data on which the run was trained"
        assert expected in capsys.readouterr().err
    record = json.loads((run / "run.json").read_text())
    del record["best"]
    (other / "run.json").write_text(json.dumps(record))
    assert main(["card", str(other)]) == 1
    assert "not trained to its end: continue it by --resume" in capsys.readouterr().err
    assert not (other / "model_card.md").exists()


def test_a_run_goes_to_the_hub_and_comes_back(run, hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
    export, info = onnx.load(BUNDLED), read_info(run)

    def push(epoch, address="user/faces"):
        told = info_to_json(dataclasses.replace(info, epoch=epoch))
        onnx.helper.set_model_props(export, {KEY: told})
        onnx.save(export, run / LIGHT)
        return main(["card", str(run), "--push", address])

    assert push(info.epoch + 1) == 1
    assert "is not of the checkpoint model_max_acc.keras: export it" in capsys.readouterr().err
    assert push(info.epoch, "user/") == 2
    assert not hub
    assert push(info.epoch) == 0
    assert "/user/faces" in capsys.readouterr().out
    assert set(hub) == {"README.md", "model_max_acc.keras", "model_max_acc.onnx"}
    model = (run / "model_max_acc.keras").read_bytes()
    assert hub["model_max_acc.keras"] == model
    assert 'Predictor("hf://user/faces")' in hub["README.md"].decode()
    assert "\n# faces\n" in hub["README.md"].decode()

    config = dataclasses.replace(TrainConfig(), model_name="Tiny", weights="hf://user/faces")
    found = starting_weights(config)
    assert Path(found).read_bytes() == model
    fetched = build_model("Tiny", 8, weights="hf://user/faces", image_size=48)
    expected = Classifier.open(run).probabilities(drawn(5))
    opened = Classifier.open("hf://user/faces@main")
    np.testing.assert_array_equal(opened.probabilities(drawn(5)), expected)
    np.testing.assert_allclose(fetched.predict(drawn(5), verbose=0), expected, atol=1e-6)
    with pytest.raises(UsageError, match="--output_dir"):
        evaluate(EvaluateConfig(checkpoint_path=("hf://user/faces",)))
    address = ["--checkpoint_path", "hf://user/faces"]
    assert main(["export", *address, "--format", "onnx"]) == 2
    assert main(["explain", *address, "--images", "face.png"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("of hf://")[2] for line in said] == ["user/faces"] * 2
    assert "--output for" in said[0]
    assert "--output_dir for" in said[1]
    with monkeypatch.context() as light:
        light.setattr(run_module, "find_spec", lambda name: None)
        assert find_checkpoint("hf://user/faces").read_bytes() == (run / LIGHT).read_bytes()
    for address in ("hf://user/nothing", "hf://user/faces@gone"):
        with pytest.raises(InputError, match=r"cannot get model_max_acc\.keras of hf"):
            starting_weights(dataclasses.replace(config, weights=address))


def test_an_address_is_one_on_windows_too():
    with pytest.raises(UsageError, match="of hf://user/faces"):
        require_place("hf://user/faces", None, "--output")


def test_what_the_hub_refuses_is_one_line(run, hub, capsys, monkeypatch):
    for words in (["--push", "faces"], ["--push", ""], ["--output", str(run / "report.json")]):
        assert main(["card", str(run), *words]) == 2
    assert "USER/NAME" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    assert main(["card", str(run), "--push", "user/faces"]) == 1
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error")]
    assert "cannot push to user/faces" in line
    assert hub == {}
