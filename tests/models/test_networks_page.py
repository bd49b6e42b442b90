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
COLOURS = {1: ("grey",), 3: ("RGB", "BGR")}


def test_table_has_the_rows_of_the_models_in_their_order():
    assert [row[0].strip("`") for row in ROWS] == list(MODELS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row(row):
    name, image, _, dropout, parameters, weights = row
    spec = MODELS[name.strip("`")]
    size, colour, *centre = image.split(", ")
    assert int(size) == spec.image_size
    assert colour in COLOURS[len(spec.mean)]
    assert bool(centre) == (spec.crop < 48)
    assert float(dropout) == spec.dropout_rate
    assert int(parameters.replace(",", "")) == FIGURES[spec.name][1]
    assert weights.strip("`") == spec.default_weights


def test_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPOSITORY / "docs" / target).exists(), target
