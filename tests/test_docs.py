"""Links between the documents, and the flags that they name."""

import dataclasses
import re

import ferplus_keras
from ferplus_keras.config import EvaluateConfig, TrainConfig
from tests.conftest import REPOSITORY


def test_the_citation_is_of_this_version():
    import yaml

    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == ferplus_keras.__version__
    assert {"cff-version", "message", "title", "authors", "license"} <= cited.keys()


def test_links_between_documents_exist():
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    assert len(pages) > 10
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_index_links_every_page():
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    assert pages <= set(re.findall(r"\]\((\w+\.md)\)", index))


def test_flags_of_the_training_page_exist():
    settings = (*dataclasses.fields(TrainConfig), *dataclasses.fields(EvaluateConfig))
    text = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--(\w+)", text)) <= {field.name for field in settings} | {
        "help",
        "config",
    }
