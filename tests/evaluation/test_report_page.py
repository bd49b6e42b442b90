import copy
import dataclasses
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from ferplus_keras.config import EvaluateConfig
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES
from ferplus_keras.evaluation import evaluate as evaluation
from ferplus_keras.evaluation import page as page_of_report
from ferplus_keras.evaluation.page import ambiguous, confident_errors, write_report_page
from ferplus_keras.models.registry import MODELS
from ferplus_keras.templates import environment
from tests import tiny

VOID = ("img", "meta", "br")
HISTORY = "epoch,learning_rate,accuracy,loss,val_accuracy,val_loss\n"


class Page(HTMLParser):
    """Elements and text of a page; complains about elements that are not closed in order."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    @property
    def text(self):
        return " ".join(self.words).replace("\N{NO-BREAK SPACE}", " ")

    @property
    def sections(self):
        return [section["id"] for section in self.all("section")]


@pytest.fixture
def evaluated(tiny_network, sample_data, tmp_path, monkeypatch):
    """Return a function that evaluates new networks and gives report, answers and page."""

    def run(count=1, classes=FERPLUS_CLASSES, dataset="FERPlus", **settings):
        kept = []
        monkeypatch.setattr(
            evaluation,
            "write_report_page",
            lambda *given: (kept.append(given[:2]), write_report_page(*given)),
        )
        paths = []
        for index in range(count):
            path = tmp_path / f"run{index}" / "model_max_acc.keras"
            path.parent.mkdir()
            tiny.save(path, classes, dataset)
            paths.append(str(path))
        history = "1,0.1,0.3,2.0,0.25,1.9\n2,0.1,0.5,1.5,0.4,nan\n"
        (tmp_path / "run0" / "training.csv").write_text(HISTORY + history)
        evaluation.evaluate(
            EvaluateConfig(
                checkpoint_path=tuple(paths),
                data_dir=str(sample_data),
                output_dir=str(tmp_path),
                **settings,
            )
        )
        ((report, evaluations),) = kept
        return report, evaluations, Page(tmp_path / "report.html")

    return run


def check(page):
    """Assert what holds of every page."""
    assert not page.all("script")
    assert not page.all("link")
    for attributes in (attributes for _, attributes in page.elements):
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    targets = {link["href"][1:] for link in page.all("a")}
    assert targets == set(page.sections)
    marks = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(marks) == len(set(marks))
    assert page.all("img")
    assert all(image["alt"].strip() for image in page.all("img"))
    assert not re.search("<th[^>]*></th>", page.source)
    assert all("role" not in attributes for attributes in page.all("dl"))  # it would hide its list
    assert all(svg["role"] == "img" and svg["aria-label"].strip() for svg in page.all("svg"))
    for wrong in (" None", " nan", "inf "):
        assert wrong not in page.text


def test_page_of_an_ensemble(evaluated, tmp_path):
    report, evaluations, page = evaluated(count=2, tta="flip")
    check(page)
    assert "under the label rule majority, test-time augmentation flip" in page.text
    assert (tmp_path / "report.html").stat().st_size < 3e6
    for section in ("members", "training", "annotators", "calibration", "ambiguous-faces"):
        assert section in page.sections
    for name in (*FERPLUS_CLASSES, *report["splits"]["test"]["label_rules"], "2 views"):
        assert name in page.text
    for member in report["members"]:
        assert member["checkpoint_sha256"][:12] in page.text
    for split in report["splits"].values():
        assert f"{100 * split['accuracy']:.1f}" in page.words
        assert f"{split['n']:,}" in page.words
    alts = [image["alt"].replace("\N{NO-BREAK SPACE}", " ") for image in page.all("img")]
    assert alts == [
        f"Face of row {found.split.row_ids[row]}: label {FERPLUS_CLASSES[found.labels[row]]}, "
        f"predicted {FERPLUS_CLASSES[found.predicted[row]]} "
        f"({100 * found.probabilities[row].max():.0f} %)"
        for choose in (confident_errors, ambiguous)
        for found in evaluations.values()
        for row in choose(found)
    ]
    assert page.source.count("<dd>votes</dd><dd>model</dd>") == len(alts)
    matrices = [split["confusion_matrix"] for split in report["splits"].values()]
    diagonal = [row[i] / max(sum(row), 1) for matrix in matrices for i, row in enumerate(matrix)]
    right = [cell["style"] for cell in page.all("td") if cell.get("class") == "right"]
    assert right == [f"--v:{share:.3f}" for share in diagonal]
    scales = [span["style"] for span in page.all("span") if span.get("class") == "whisker"]
    for low, value, high in (map(float, re.findall(r":([-\d.]+)", scale)) for scale in scales):
        assert 0 <= low <= value <= high <= 100
    for member in report["members"]:
        assert "/".join(member["checkpoint"].split("/")[-2:]) in page.words


def test_data_without_votes_and_scores_that_are_not_defined(evaluated, tmp_path):
    report, evaluations, page = evaluated(classes=FER2013_CLASSES, dataset="FER", splits=("test",))
    check(page)
    assert "annotators" not in page.sections
    assert "ambiguous-faces" not in page.sections
    assert "not fitted" in page.text
    assert report["checkpoint_sha256"] in page.text
    assert all(name in page.text for name in FER2013_CLASSES)

    before = page.text.count("not defined")
    report = copy.deepcopy(report)
    of_test = report["splits"]["test"]
    without_rows = dict.fromkeys(of_test["leak_free"]) | {"n": 0}
    of_test["leak_free"] = without_rows
    of_test["per_class"]["fear"] = dict.fromkeys(of_test["per_class"]["fear"]) | {"support": 0}
    of_test["macro_auroc"] = None
    shutil.rmtree(tmp_path / "run0")
    write_report_page(report, evaluations, tmp_path / "other.html")
    page = Page(tmp_path / "other.html")
    check(page)
    assert page.text.count("not defined") > before
    assert "training" not in page.sections


def test_faces_are_the_surest_errors_and_the_most_divided_votes(evaluated):
    _, evaluations, _ = evaluated(splits=("validation",))
    of_split = evaluations["validation"]
    labels = of_split.labels
    wrong = [
        (-max(scores), row)
        for row, scores in enumerate(of_split.probabilities)
        if int(np.argmax(scores)) != labels[row]
    ]
    assert list(confident_errors(of_split)) == [row for _, row in sorted(wrong)[:12]]

    def entropy(row):
        shares = [votes / sum(of_split.votes[row]) for votes in of_split.votes[row]]
        return -sum(share * np.log(share) for share in shares if share)

    shown = ambiguous(of_split)
    least = min(entropy(row) for row in shown)
    assert all(entropy(row) <= least + 1e-9 for row in set(range(len(labels))) - set(shown))
    of_split.votes[:-3] = 10 * np.eye(len(FERPLUS_CLASSES), dtype=int)[labels[:-3]]  # all agree
    assert len(ambiguous(of_split)) == sum(entropy(row) > 0 for row in range(len(labels))) <= 3


def test_a_face_shows_the_classes_with_the_largest_shares(evaluated, tmp_path, monkeypatch):
    report, evaluations, _ = evaluated(splits=("test",))
    found = evaluations["test"]
    monkeypatch.setattr(page_of_report, "CLASSES_SHOWN", 3)
    for rate, said in ((0.9, "more often than a single annotator"), (0.1, "at least as often")):
        annotators = report["splits"]["test"]["annotators"]
        annotators.update(model_accuracy=rate, annotator_accuracy=0.5)
        write_report_page(report, evaluations, tmp_path / "other.html")
        page = Page(tmp_path / "other.html")
        assert said in page.text
    lists = re.findall('<dl class="bars.*?</dl>', page.source, re.DOTALL)
    rows = [*confident_errors(found), *ambiguous(found)]
    for row, face in zip(rows, lists, strict=True):
        shown = [FERPLUS_CLASSES.index(name) for name in re.findall("<dt>(.+?)</dt>", face)]
        shares = np.maximum(found.probabilities[row], found.votes[row] / found.votes[row].sum())
        assert shown == sorted(shown)
        np.testing.assert_allclose(np.sort(shares[shown]), np.sort(shares)[-3:])


def test_text_is_escaped():
    template = environment().from_string("<p title='{{ text }}'>{{ text }}</p>")
    assert (
        template.render(text="<b>'1'") == "<p title='&lt;b&gt;&#39;1&#39;'>&lt;b&gt;&#39;1&#39;</p>"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, False),
        ("", False),
        (HISTORY, False),
        (HISTORY + "1,.1,.2,2,.2,2\n", False),
        (HISTORY + "1,a,b,c,d,e\n2,a,b,c,d,e\n", True),
        ("loss,val_loss\n1,2\n2,3\n", False),
    ],
)
def test_no_curves_without_epochs(evaluated, tmp_path, text, fault):
    report, evaluations, _ = evaluated(splits=("test",))
    history = tmp_path / "run0" / "training.csv"
    history.unlink()
    if text is not None:
        history.write_text(text)
    write_report_page(report, evaluations, tmp_path / "other.html")
    page = Page(tmp_path / "other.html")
    assert ("training" in page.sections) == fault
    assert (f"cannot read {history}" in page.text) == fault


def test_rows_that_say_nothing_new_are_left_out(evaluated, capsys):
    report, _, page = evaluated(classes=FER2013_CLASSES, dataset="FER", splits=("test",))
    assert report["splits"]["test"]["leak_free"]["n"] == report["splits"]["test"]["n"]
    assert "label-rules" not in page.sections
    assert "without leaks" not in (page.text + capsys.readouterr().out).lower()


def test_preprocessing_is_that_of_the_faces(evaluated, tmp_path, monkeypatch, tiny_network):
    report, evaluations, page = evaluated(count=2, splits=("test",))
    assert "grey faces of 48×48 pixels, left at 48×48, 1 channel, minus 127.5" in page.text
    found = evaluations["test"]
    images = np.zeros((len(found.labels), 96, 96, 3), np.uint8)  # as own pictures may be
    larger = dataclasses.replace(found, split=found.split._replace(images=images))
    for crop, part in ((48, ""), (40, "the centre 80×80 pixels of ")):
        spec = dataclasses.replace(MODELS[tiny_network], crop=crop)
        monkeypatch.setitem(MODELS, tiny_network, spec)
        write_report_page(report, {"test": larger}, tmp_path / "other.html")
        text = " ".join(Page(tmp_path / "other.html").text.split())
        assert f"Preprocessing {part}colour faces of 96×96 pixels, resized to 48×48, 1" in text


def test_leaks_of_training_have_their_duplicates_outside(evaluated, tmp_path):
    report, evaluations, _ = evaluated(splits=("train",))
    found = evaluations["train"]
    leaked = np.arange(len(found.labels)) == confident_errors(found)[0]
    found = dataclasses.replace(found, split=found.split._replace(leaked=leaked))
    for name, where in (("train", "outside"), ("test", "in")):
        of_split = report | {"splits": {name: found.scores()}}
        write_report_page(of_split, {name: found}, tmp_path / "other.html")
        page = Page(tmp_path / "other.html")
        assert f"faces without a duplicate {where} training" in page.text
        assert f"duplicate {where} training" in page.words


def test_plots_follow_the_page(evaluated, tmp_path):
    *_, page = evaluated()
    drawn = [
        attributes.get("style", "")
        for name, attributes in page.elements
        if name in ("path", "text", "use")
    ]
    colours = [style for style in drawn if re.search("(fill|stroke): ", style)]
    assert colours
    assert not [style for style in colours if "#" in style.replace("url(#", "")]
    assert any("var(--c1)" in style for style in colours)


def test_long_class_names_are_whole(evaluated, tmp_path):
    long = "contempt_that_is_shown_openly_to_everybody_and_for_a_very_long_time"
    classes = (long, *FERPLUS_CLASSES[1:])
    class_map = tuple(f"{new}={old}" for new, old in zip(classes, FERPLUS_CLASSES, strict=True))
    *_, page = evaluated(classes=classes, class_map=class_map)
    assert len([word for word in page.words if word == long]) > 12
    if not (chromium := shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1000, "height": 900})
        shown.goto((tmp_path / "report.html").as_uri())
        widths = "cards => cards.map(card => [card.scrollWidth, card.clientWidth])"
        measured = shown.eval_on_selector_all(".cards figure, .cards figcaption", widths)
        browser.close()
    assert len(measured) > 24
    assert all(needed <= there for needed, there in measured)
