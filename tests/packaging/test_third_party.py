"""A third party's hour, as far as a machine can go: render a vendor, install it beside Joinder's wheel in a fresh
environment, check it, run its tests, see it served by core, and take it out again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from joinder.templates import KINDS, render

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(UV), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=280)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with Joinder from its wheel; dependencies come from the versions of uv.lock."""
    if not UV.exists():
        pytest.skip("uv is not in .uv/: run `make install`")
    folder = tmp_path_factory.mktemp("fresh")
    built = uv("build", "--quiet", "--wheel", "--package", "joinder", "--out-dir", folder / "wheels")
    assert built.returncode == 0, built.stderr
    assert uv("venv", "--quiet", "--python", sys.executable, folder / "venv").returncode == 0
    locked = uv("export", "--quiet", "--frozen", "--no-dev", "--no-hashes", "--no-emit-workspace")
    (folder / "constraints.txt").write_text(locked.stdout)
    wheel = next((folder / "wheels").glob("joinder-*.whl"))
    installed = install(folder, f"joinder[simulator,testing] @ {wheel.as_uri()}")
    if installed.returncode:
        pytest.skip(f"no package index in reach: {installed.stderr.strip()[-200:]}")
    return folder


def install(folder: Path, *what: str) -> subprocess.CompletedProcess[str]:
    python = folder / "venv/bin/python"
    return uv("pip", "install", "--quiet", "--python", python, "--constraints", folder / "constraints.txt", *what)


def run(folder: Path, *command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    binary = folder / "venv/bin" / command[0]
    whole = {**os.environ, **env}
    return subprocess.run([str(binary), *command[1:]], capture_output=True, text=True, cwd=cwd, timeout=280, env=whole)


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rendered_vendor_is_green_in_a_fresh_environment(kind: str, environment: Path, tmp_path: Path) -> None:
    package = tmp_path / "joinder-sunny"
    render("sunny", "Sunny", package, kind)
    assert install(environment, "-e", str(package)).returncode == 0
    checked = run(environment, "joinder", "check", "sunny", "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    states = [row["state"] for row in json.loads(checked.stdout)]
    print(f"\nrendered {kind} vendor: {len(states)} checks, {states.count('passed')} passed")
    assert set(states) == {"passed", "n/a"}
    tested = run(environment, "python", "-m", "pytest", "-q", cwd=package)
    assert tested.returncode == 0, tested.stdout
    listed = json.loads(run(environment, "joinder", "vendors", "--json", cwd=package).stdout)
    assert [row["state"] for row in listed if row["vendor"] == "sunny"] == ["ok"]
    gone(environment, package)
    shutil.rmtree(package)


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_an_operator_checks_a_plugin_that_came_as_a_wheel(environment: Path, tmp_path: Path) -> None:
    render("sunny", "Sunny", tmp_path / "joinder-sunny", "key")
    built = uv("build", "--quiet", "--wheel", tmp_path / "joinder-sunny", "--out-dir", tmp_path / "wheels")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    assert install(environment, str(wheel)).returncode == 0
    checked = run(environment, "joinder", "check", "sunny", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    gone(environment, tmp_path)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_owners_of_the_examples_join_and_are_read_where_all_came_as_wheels(environment: Path, tmp_path: Path) -> None:
    for folder in EXAMPLES:
        built = uv("build", "--quiet", "--wheel", folder, "--out-dir", tmp_path / "wheels")
        assert built.returncode == 0, built.stderr
    wheel = next((environment / "wheels").glob("joinder-*.whl"))
    ours = f"joinder[server,simulator,testing] @ {wheel.as_uri()}"
    assert install(environment, ours, *map(str, (tmp_path / "wheels").glob("*.whl"))).returncode == 0
    names = [folder.name for folder in EXAMPLES]
    for name in names:
        checked = run(environment, "joinder", "check", name, cwd=tmp_path)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    plugins = ",".join(f"joinder-{name}" for name in names)
    shown = run(environment, "joinder", "demo", "--once", "--json", cwd=tmp_path, JOINDER_PLUGINS=plugins)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert [(seen["vendor"], seen["health"]) for seen in json.loads(shown.stdout)["vendors"]] == [
        (name, "ok") for name in names
    ]


def gone(environment: Path, cwd: Path) -> None:
    """Uninstalls it; a command says that it is not there."""
    python = environment / "venv/bin/python"
    assert uv("pip", "uninstall", "--quiet", "--python", python, "joinder-sunny").returncode == 0
    left = run(environment, "joinder", "check", "sunny", cwd=cwd)
    assert (left.returncode, "no vendor sunny" in left.stderr) == (3, True)
