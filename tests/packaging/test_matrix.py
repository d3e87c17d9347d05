"""Every distribution under every extra alone, in fresh environments: commands work, or say which extra they want."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from effort import late
from joinder.cli import COMMANDS
from joinder.vendors.catalogue import catalogue

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
Commands = tuple[tuple[str, ...], ...]
EXTRAS = tuple(tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["optional-dependencies"])
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
OTHERS = ("3.12", "3.13")  # besides the one that runs the tests
HANGS_S = 1800  # what takes so long hangs; fifty commands beside other work are slow
EVERYTHING = "all"
OWN_VENDORS = [one.name for one in catalogue() if one.home.startswith("plugins/")]
WHOLE = ("server", EVERYTHING)  # extras with which commands that need no simulator do what they are for
FEW = (("init", "--account", "T"), ("doctor",), ("check", "acme"), ("simulate", "nobody"), ("tui", "--help"))
MANY = (
    *((command, "--help") for command in COMMANDS),
    ("init", "--account", "T"),
    ("vendors", "list"),
    ("config", "check"),
    ("accounts", "list"),
    ("openapi",),
    *FEW[1:],
)
MUST_WORK = {("init", "--account", "T"), ("vendors", "list"), ("accounts", "list"), ("openapi",)}
_TRY = """
import json, subprocess, sys
told = []
for command in json.loads(sys.argv[1]):
    done = subprocess.run([sys.executable, "-m", "joinder", *command], capture_output=True, text=True, stdin=-3)
    told.append((command, done.returncode, done.stdout + done.stderr))
print(json.dumps(told))
"""


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JOINDER_", "PYTHON"))}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=env, timeout=HANGS_S)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All our wheels, and the versions of uv.lock that everything else is taken in."""
    if not UV.exists():
        pytest.skip("uv is not in .uv/: run `make install`")
    folder = tmp_path_factory.mktemp("wheels")
    locked = run(UV, "export", "--quiet", "--frozen", "--no-dev", "--no-hashes", "--no-emit-workspace", "--all-extras")
    (folder / "constraints.txt").write_text(locked.stdout)
    return folder


def wheel_of(source: Path, wheels: Path) -> Path:
    name = tomllib.loads((source / "pyproject.toml").read_text())["project"]["name"].replace("-", "_")
    if not list(wheels.glob(f"{name}-*.whl")):
        built = run(UV, "build", "--quiet", "--wheel", source, "--out-dir", wheels)
        assert built.returncode == 0, built.stderr
    (found,) = wheels.glob(f"{name}-*.whl")
    return found


def fresh(folder: Path, wheels: Path, python: str, *what: str) -> Path:
    """Returns the interpreter of an environment with these distributions; skips where one cannot be had here."""
    known = (python, *Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    if not any(made(folder, one) for one in known):
        pytest.skip(f"no Python {python} here")
    own = folder / "venv/bin/python"
    asked = ("--find-links", wheels, "--constraints", wheels / "constraints.txt")
    installed = run(UV, "pip", "install", "--quiet", "--python", own, *asked, *what)
    if installed.returncode:
        pytest.skip(f"no package index in reach: {installed.stderr.strip()[-300:]}")
    return own


def made(folder: Path, python: str | Path) -> bool:
    return run(UV, "venv", "--quiet", "--no-python-downloads", "--python", python, folder / "venv").returncode == 0


def tried(
    python: Path, commands: tuple[tuple[str, ...], ...], folder: Path
) -> Iterator[tuple[tuple[str, ...], int, str]]:
    done = run(python, "-c", _TRY, json.dumps(commands), cwd=folder)
    assert done.returncode == 0, done.stderr
    for command, code, text in json.loads(done.stdout):
        yield tuple(command), code, text


def expect_answers(python: Path, commands: Commands, folder: Path, extra: str) -> None:
    """No command ends in a traceback; what is missing is named, by an extra that is not the one installed."""
    for command, code, text in tried(python, commands, folder):
        assert "Traceback" not in text, f"{extra}: joinder {' '.join(command)}\n{text[-2000:]}"
        if "which is not installed" in text:
            assert code == 78, f"{extra}: joinder {' '.join(command)} answers {code}"
            assert f"joinder[{extra}]" not in text, text
            assert extra != EVERYTHING, text
            assert extra not in WHOLE or "joinder-tui" in text or "testing" in text or "simulator" in text, text
        elif extra == EVERYTHING and command == ("vendors", "list"):
            assert all(vendor in text for vendor in OWN_VENDORS), text
        elif (
            extra in WHOLE
            and (command in MUST_WORK or command[-1] == "--help")
            and (extra == EVERYTHING or command[0] != "tui")
        ):
            assert code == 0, f"{extra}: joinder {' '.join(command)}\n{text[-2000:]}"


def cells() -> Iterator[object]:
    """Yields (Python, extra, commands): by day one that has nothing, with few commands; the rest among the proofs."""
    here = sys.executable
    yield pytest.param(here, "", FEW, id="bare")
    for extra in ("", *EXTRAS):
        yield pytest.param(here, extra, MANY, id=f"this-{extra or 'bare'}", marks=pytest.mark.proof)
    for python in OTHERS:
        for extra in ("", *WHOLE):
            yield pytest.param(python, extra, MANY, id=f"{python}-{extra or 'bare'}", marks=pytest.mark.proof)


@pytest.mark.timeout(2 * HANGS_S)
@pytest.mark.parametrize(("python", "extra", "commands"), list(cells()))
def test_every_command_works_or_says_which_extra_it_wants(
    python: str, extra: str, commands: Commands, wheels: Path, tmp_path: Path
) -> None:
    core = wheel_of(ROOT / "core", wheels)
    for source in (*PLUGINS, ROOT / "tui") if extra == EVERYTHING else ():
        wheel_of(source, wheels)
    own = fresh(tmp_path, wheels, python, f"joinder[{extra}] @ {core.as_uri()}" if extra else str(core))
    expect_answers(own, commands, tmp_path, extra)


@pytest.mark.timeout(2 * HANGS_S)
@pytest.mark.parametrize("source", [late(path) for path in (*PLUGINS, ROOT / "tui")], ids=lambda path: path.name)
def test_every_distribution_installs_alone_and_says_what_it_lacks(source: Path, wheels: Path, tmp_path: Path) -> None:
    wheel_of(ROOT / "core", wheels)
    own = fresh(tmp_path, wheels, sys.executable, str(wheel_of(source, wheels)))
    expect_answers(own, (("--help",), ("vendors", "list"), ("tui", "--help"), ("check", "solis")), tmp_path, "")
    (package,) = (path.name for path in (source / "src").iterdir() if path.is_dir())
    assert run(own, "-c", f"import {package}").returncode == 0
