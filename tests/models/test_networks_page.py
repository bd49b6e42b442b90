import re

import pytest

from ferplus_keras.models.registry import MODELS
from tests.conftest import REPOSITORY
from tests.models.networks import FIGURES

PAGE = (REPOSITORY / "docs" / "networks.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


def test_table_has_a_row_for_every_model():
    assert sorted(row[0].strip("`") for row in ROWS) == sorted(MODELS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row(row):
    name, image, _, dropout, parameters, weights = row
    spec = MODELS[name.strip("`")]
    size, colour, *centre = image.split(", ")
    assert int(size) == spec.image_size
    assert colour.lower() == spec.channel_order
    assert bool(centre) == (spec.crop < 48)
    assert float(dropout) == spec.dropout_rate
    assert int(parameters.replace(",", "")) == FIGURES[spec.name][1]
    assert weights.strip("`") == spec.default_weights


def test_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPOSITORY / "docs" / target).exists(), target
