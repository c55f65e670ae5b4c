import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "deepsal"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES})

BASE = {"vocabulary", "statistics", "atomic", "hardware", "terminal"}
"""Modules that everything may import; they import nothing of deepsal."""
TYPES = {"data.dataset", "data.batch"}
"""Types of data that every package may import."""
METHODS = {"data", "metrics", "models", "rf"}
ARROWS = {
    "data": set(),
    "metrics": TYPES,
    "models": TYPES,
    "rf": TYPES,
    "training": METHODS,
    "callbacks": METHODS | {"training"},
    "runs": METHODS | {"training"},
    "sweeps": METHODS | {"training", "runs"},
    "report": METHODS | {"training", "runs"},
    "__main__": {"runs"},
}
"""Packages that a package may import, besides itself and the base."""
METAPHORS = (
    "door|word|words|look|looks|ask|asks|asked|tell|tells|told|hear|hears|say|says|said|kept|"
    "beside|judge|portrait|probe|verb|verbs|riddle"
)


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_arrows_point_one_way(file: Path) -> None:
    package = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package == "__init__":
        return
    allowed = set() if package in BASE else BASE | ARROWS[package] | {package}
    for name in imported(file):
        if name.startswith("deepsal."):
            inner = name.removeprefix("deepsal.")
            assert within(inner, allowed), (
                f"{package} imports {name}; it may import {sorted(allowed)}"
            )


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_the_package_knows_nothing_of_hydra(file: Path) -> None:
    assert not [name for name in imported(file) if name.split(".")[0] in {"hydra", "omegaconf"}]


def test_only_run_py_instantiates() -> None:
    assert "instantiate(" in (ROOT / "run.py").read_text()
    assert not [file for file in FILES if "instantiate(" in file.read_text()]


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_every_module_has_its_mirror_test(file: Path) -> None:
    inner = file.relative_to(PACKAGE)
    if inner.name != "__init__.py":
        assert (ROOT / "tests" / inner.parent / f"test_{inner.name}").is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_no_export_is_named_like_a_module_of_its_folder(folder: Path) -> None:
    modules = {path.stem for path in folder.iterdir()}
    exported = {
        alias.asname or alias.name
        for node in ast.parse((folder / "__init__.py").read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert not exported & modules


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_no_two_files_of_a_folder_differ_by_a_plural(folder: Path) -> None:
    names = sorted(path.stem for path in folder.glob("*.py"))
    assert not [name for name in names if f"{name}s" in names or f"{name}es" in names]


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_a_modules_first_line_names_the_thing(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring
    first = docstring.splitlines()[0]
    assert not re.match(r"(what|how|where|which|when|who|why|whether)\b", first, re.IGNORECASE)
    assert not re.search(rf"\b({METAPHORS})\b", first, re.IGNORECASE), first


def test_the_page_of_the_architecture_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", page)
    assert len(files) > 50
    assert not [
        file for file in files if not ((PACKAGE / file).is_file() or (ROOT / file).is_file())
    ]
    assert len(page.splitlines()) <= 80


def test_helpers_of_tests_are_not_in_test_files() -> None:
    tests = [*(ROOT / "tests").rglob("*.py")]
    imports = {file: [name for name in imported(file) if ".test_" in name] for file in tests}
    assert not {relative(file): names for file, names in imports.items() if names}
