"""What docs/ lists is what the tables hold."""

import re

from ferplus_keras.data.augment import PRESETS
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.optimizers import OPTIMIZERS
from ferplus_keras.training.schedules import POLICIES
from tests.conftest import REPOSITORY

TRAINING = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")


def first_column(text, head):
    """Return the names in the first column of the table whose head begins so."""
    table = text[text.index(f"| {head}") :].split("\n\n")[0].splitlines()[2:]
    return [name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])]


def test_policies_presets_optimisers_and_loggers_of_training():
    assert first_column(TRAINING, "`--lr_policy`") == list(POLICIES)
    assert first_column(TRAINING, "`--augmentation`") == list(PRESETS)
    named = TRAINING[TRAINING.index("any of Keras' optimisers") : TRAINING.index("`--momentum`")]
    assert re.findall(r"`(\w+)`", named) == list(OPTIMIZERS)
    assert set(re.findall(r"--loggers (\w+)", TRAINING)) == set(LOGGERS)


def test_networks_of_the_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert sorted(first_column(readme, "network")) == sorted(MODELS)


def test_links_between_documents_exist():
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    assert len(pages) > 10
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
