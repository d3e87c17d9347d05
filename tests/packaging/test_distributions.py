"""What every distribution of the repository says of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("*/pyproject.toml")) + sorted(
    path.parent for path in ROOT.glob("plugins/*/pyproject.toml")
)


def told(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return project


def test_there_are_distributions() -> None:
    assert len(FOLDERS) > 2


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_it_is_whole(folder: Path) -> None:
    project = told(folder)
    assert project["license-files"] == ["LICENSE"]
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (folder / project["readme"]).is_file()
    assert "Typing :: Typed" in project["classifiers"]
    assert list(folder.glob("src/*/py.typed"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_all_have_one_version_and_want_no_other_of_each_other(folder: Path) -> None:
    version = told(ROOT / "core")["version"]
    major, minor, _ = version.split(".")
    bounds = f">={major}.{minor},<{major}.{int(minor) + 1}"
    project = told(folder)
    wanted = [
        *project["dependencies"],
        *(one for extra in project.get("optional-dependencies", {}).values() for one in extra),
    ]
    assert project["version"] == version
    own = [one for one in wanted if one.startswith("joinder") and folder.name != "core"]
    assert all(one.endswith(bounds) for one in own), own
