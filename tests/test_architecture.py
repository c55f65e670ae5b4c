import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "deepsal"
FILES = sorted(PACKAGE.rglob("*.py"))

COMMON = {"vocabulary", "atomic"}
"""What everything may import; they import nothing of deepsal."""
ARROWS = {
    "vocabulary": set(),
    "atomic": set(),
    "ranks": set(),
    "transport": set(),
    "functional": {"ranks", "transport"},
    "hardware": set(),
    "precision": {"hardware"},
    "targets": set(),
    "data": {"data"},
    "models": {"models"},
    "rf": {"rf"},
    "protocol": {"functional", "ranks"},
    "optimal": {"functional"},
    "losses": {"functional"},
    "metrics": {"functional", "protocol", "optimal", "transport"},
    "task": {"losses", "metrics", "models", "functional", "rf.arithmetic"},
    "callbacks": {"callbacks", "rf", "data.sample"},
    "jobs": {"jobs", "callbacks", "models", "report", "hardware", "rf.memory"},
    "report": {"report", "rf", "functional", "hardware"},
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_arrows_point_one_way(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for name in imported(file):
        if name.startswith("deepsal."):
            inner = name.removeprefix("deepsal.")
            allowed = ARROWS[room] | (set() if room in COMMON else COMMON)
            known = any(inner == a or inner.startswith(f"{a}.") for a in allowed)
            assert known, f"{room} imports {name}; it may import {sorted(allowed)}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_the_package_knows_nothing_of_hydra(file: Path) -> None:
    assert not [name for name in imported(file) if name.split(".")[0] in {"hydra", "omegaconf"}]


def test_only_run_py_instantiates() -> None:
    assert "instantiate(" in (ROOT / "run.py").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_module_has_its_mirror_test(file: Path) -> None:
    inner = file.relative_to(PACKAGE)
    if inner.name != "__init__.py":
        assert (ROOT / "tests" / inner.parent / f"test_{inner.name}").is_file()


def test_files_stay_small() -> None:
    long = {
        f: n
        for f in ROOT.glob("**/*.py")
        if not f.relative_to(ROOT).parts[0].startswith(".")
        and (n := len(f.read_text().splitlines())) > 250
    }
    assert not long
