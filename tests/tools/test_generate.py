"""The documentation's tables are the code's tables."""

import re

import pytest

from ferplus_keras.cli import COMMANDS
from ferplus_keras.data.augment import PRESETS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.labels import LABEL_RULES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.training.schedules import POLICIES
from tests.conftest import REPOSITORY
from tools import generate
from tools.generate import PAGES, TABLES, fill_tables

FILES = sorted(path for pattern in PAGES for path in REPOSITORY.glob(pattern))
MARK = re.compile(r"<!-- table: (\w+) -->")


def names(kind):
    return re.findall(r"^\| `(\w[\w-]*)`", TABLES[kind](), re.M)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_page_is_as_the_command_writes_it(path):
    text = path.read_text(encoding="utf-8")
    assert fill_tables(text) == text, "run: python tools/generate.py --tables"


def test_the_served_page_is_as_the_command_writes_it():
    path, text = generate.proper_use()
    assert path.read_text(encoding="utf-8") == text, "run: python tools/generate.py --tables"
    assert 'href="model_card' not in text
    assert text.count("<h2>") >= 5


def test_every_table_is_on_a_page():
    used = {kind for path in FILES for kind in MARK.findall(path.read_text(encoding="utf-8"))}
    assert used == set(TABLES)


def test_tables_have_every_entry_in_order():
    assert names("label_rules") == list(LABEL_RULES)
    assert names("data_sets") == list(DATASETS)
    assert names("policies") == list(POLICIES)
    assert names("presets") == list(PRESETS)
    assert names("commands") == list(COMMANDS)
    for kind, make in TABLES.items():
        rows = make().splitlines()
        assert len({row.count(" | ") for row in rows}) == 1, kind
        assert all(cell.strip() for row in rows for cell in row.strip("|").split("|")), kind


def test_a_new_entry_is_a_new_row(monkeypatch):
    text = f"before\n<!-- table: policies -->\n{TABLES['policies']()}\n<!-- end -->\nafter\n"

    def quick(plan, epoch):
        """Fall at once."""

    monkeypatch.setitem(POLICIES, "quick", quick)
    assert fill_tables(text) == text.replace(
        "\n<!-- end -->", "\n| `quick` | Fall at once |\n<!-- end -->"
    )


def test_a_mark_without_an_end_or_of_an_unknown_table_is_refused():
    with pytest.raises(InputError, match="no <!-- end --> after the mark <!-- table: views -->"):
        fill_tables(
            "<!-- table: views -->\n| a |\n\nprose\n<!-- table: presets -->\n<!-- end -->\n"
        )
    with pytest.raises(UsageError, match="unknown table 'polices'"):
        fill_tables("<!-- table: polices -->\n<!-- end -->\n")


def test_the_command_rewrites_pages_only(monkeypatch, tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("no table\n")
    page = tmp_path / "docs" / "training.md"
    page.write_text("<!-- table: presets -->\nold\n<!-- end -->\nprose\n")
    (tmp_path / "docs" / "proper_use.md").write_text("# Use\n\nWell, [see](serve.md).\n")
    served = tmp_path / "ferplus_keras/serve/page/proper-use.html"
    served.parent.mkdir(parents=True)
    monkeypatch.setattr(generate, "REPOSITORY", tmp_path)
    assert generate.main(["--tables"]) == 0
    assert capsys.readouterr().out == f"docs/training.md\n{served.relative_to(tmp_path)}\n"
    assert "<p>Well, see.</p>" in served.read_text()
    assert page.read_text().endswith("\n<!-- end -->\nprose\n")
    assert "| `strong` |" in page.read_text()
    assert generate.main(["--tables"]) == 0
    assert capsys.readouterr().out == ""
