"""The architecture: imports go one way, modules stay readable, nothing slow is loaded early."""

import ast
import copy
import graphlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LARGEST = 18_795
"""Lines of the package. Lower it when the package shrinks; the aim is 12,000."""

PACKAGE = REPOSITORY / "ferplus_keras"
FILES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports, also within functions."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    wanted: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
    own = {module for module in wanted if module in FILES and module != name}
    # A package's own modules may complete its table, which stands in its __init__.
    return {module for module in own if not name.startswith(f"{module}.")}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def test_no_modules_import_each_other_not_even_in_functions():
    graph = {name: imports(name) for name in FILES if name != "ferplus_keras"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_rooms_import_each_other():
    pairs = {(room(name), room(used)) for name in FILES for used in imports(name)}
    pairs = {pair for pair in pairs if "ferplus_keras" not in pair and pair[0] != pair[1]}
    assert not [pair for pair in pairs if pair[::-1] in pairs]


def test_rooms_import_only_those_above_them_in_the_table_of_contributing():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | what is in it |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    row = {
        re.sub("/$|[.]py$", "", file): number
        for number, cell in enumerate(cells)
        for file in re.findall("`(.+?)`", cell)
    }
    rooms = {room(name) for name in FILES} - {"ferplus_keras", "__main__"}
    assert rooms == row.keys() - {"tools", "benchmarks"}
    for name in FILES:
        for used in imports(name) if room(name) in row else ():
            assert used == "ferplus_keras" or row[room(used)] <= row[room(name)], (name, used)


def defined(name: str) -> set[str]:
    """Return every name that a module defines or imports, and its submodules."""
    found = {other.rpartition(".")[2] for other in FILES if other.rpartition(".")[0] == name}
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def test_what_other_folders_import_from_the_package_exists():
    """Tools and benchmarks are not loaded by every test: a name that was moved breaks them."""
    known = {name: defined(name) for name in FILES}
    checked, missing = 0, []
    for folder in ("benchmarks", "tests", "tools"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    "ferplus_keras"
                ):
                    names = {alias.name for alias in node.names}
                    checked += len(names)
                    lacking = names - known.get(node.module, set())
                    missing += [f"{path.name}: {node.module}.{name}" for name in lacking]
    assert checked > 500
    assert missing == []


def test_modules_stay_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert len(lengths) > 80
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) <= 120
    assert sum(lengths.values()) <= LARGEST


def test_every_command_shows_its_help_without_loading_what_is_slow():
    script = """
import contextlib, io, sys
from ferplus_keras.cli import COMMANDS, main
for name in COMMANDS:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main([name, "--help"])
    except SystemExit as end:
        assert end.code == 0, name
    usage, description, *_ = said.getvalue().split("\\n\\n")
    assert usage.startswith("usage: ") and description[0].isupper(), name
slow = {"keras", "tensorflow", "jax", "torch", "matplotlib", "albumentations", "cv2", "pandas"}
slow |= {"sklearn", "h5py", "scipy", "onnxruntime", "fastapi", "optuna", "PIL", "jinja2"}
assert not slow & set(sys.modules), slow & set(sys.modules)
print(len(COMMANDS))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 14


def test_importing_the_package_imports_nothing_else():
    script = (
        "import sys; before = set(sys.modules); import ferplus_keras\n"
        "assert 'numpy' not in set(sys.modules) - before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_public_has_types():
    import ferplus_keras

    seen = {}  # what a type checker sees
    for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            seen = {line.names[0].name: line.module for line in node.body}
    assert seen == ferplus_keras._EXPORTS
    for name, module in seen.items():
        tree = ast.parse(FILES[module].read_text())
        (found,) = [node for node in tree.body if getattr(node, "name", "") == name]
        inside = found.body if isinstance(found, ast.ClassDef) else [found]
        for function in (node for node in inside if isinstance(node, ast.FunctionDef)):
            if function.name.startswith("_") and function.name != "__init__":
                continue
            given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            untyped = [each.arg for each in given if each.annotation is None]
            assert set(untyped) <= {"self", "cls"}, (name, function.name)
            assert function.returns or function.name == "__init__", (name, function.name)


@pytest.mark.parametrize("name", ["train.py", "test.py", "predict.py"])
def test_scripts_at_the_top_are_a_few_lines(name):
    assert len(Path(REPOSITORY / name).read_text().splitlines()) <= 10


def test_lazy_modules_can_be_looked_into_and_copied():
    from ferplus_keras.lazy import Lazy

    module = Lazy("colorsys")
    assert module.rgb_to_hsv(1, 0, 0) == (0.0, 1.0, 1)
    assert not hasattr(Lazy("not_installed_at_all"), "__wrapped__")
    assert copy.deepcopy(module).rgb_to_hsv(1, 0, 0) == (0.0, 1.0, 1)
