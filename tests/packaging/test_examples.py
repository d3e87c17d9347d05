"""The vendors in examples/: green by the rules of third parties, and no import beyond the contract."""

from __future__ import annotations

import ast
import importlib
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from effort import some
from joinder.testing.checks import GROUPS, Outcome, all_checks, run
from joinder.testing.subject import Subject
from joinder.vendors.registry import ENTRY_POINT_GROUP
from support import unloaded

EXAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "examples").glob("*/pyproject.toml"))
DECLARED = {("sungrow", "owner_is_known_again")}  # nobody says who the owner is
CONTRACT = (
    "contract",
    "energy",
    "errors",
    "grants",
    "http",
    "oauth",
    "physics",
    "redact",
    "series",
    "simulate",
    "vendor",
)


def package_of(folder: Path) -> str:
    return next(path.name for path in (folder / "src").iterdir() if path.is_dir())


async def outcomes_of(folder: Path, monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...] = GROUPS) -> list[Outcome]:
    monkeypatch.syspath_prepend(str(folder / "src"))
    package = package_of(folder)
    with unloaded(package):
        subject = Subject(
            name=folder.name,
            entry=EntryPoint(name=folder.name, value=package, group=ENTRY_POINT_GROUP),
            make_simulator=lambda: importlib.import_module(f"{package}.simulator").simulator(),
            cassettes=folder / "tests/cassettes",
        )
        return [await run(entry, subject) for entry in all_checks() if entry.group in groups]


@pytest.mark.parametrize("folder", some(EXAMPLES, every=len(EXAMPLES)), ids=lambda folder: folder.name)
async def test_an_example_passes_every_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = await outcomes_of(folder, monkeypatch)
    told = [one for one in outcomes if (folder.name, one.check.name) not in DECLARED]
    assert [(one.check.name, one.reason) for one in told if one.state not in ("passed", "n/a")] == []
    assert len([one for one in outcomes if one.state == "passed"]) >= 30


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
async def test_an_example_plays_its_cassette(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = await outcomes_of(folder, monkeypatch, ("static", "replayed"))
    assert [(one.check.name, one.state, one.reason) for one in outcomes if one.state != "passed"] == []


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_imports_the_contract_alone(folder: Path) -> None:
    for file in folder.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in (one for one in names if one.split(".")[0] == "joinder"):
                assert name == "joinder" or name.split(".")[1] in CONTRACT, f"{file.name} imports {name}"


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_is_a_project_of_its_own(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["joinder>=0.1,<0.2"]
    assert (folder / "LICENSE").is_file()
    readme = (folder / "README.md").read_text()
    assert "## Sources" in readme
    assert "## Not confirmed" in readme
