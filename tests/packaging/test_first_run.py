"""From wheels to the first enrollment: `pip install` and four commands, in an environment that holds nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from newcomer import Newcomer, first_enrollment

DATABASES = ("sqlite",)
ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
COMMANDS = 5  # with the installation


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(UV), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=280)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    if not UV.exists():
        pytest.skip("uv is not in .uv/: run `make install`")
    built = uv("build", "--quiet", "--all-packages", "--wheel", "--out-dir", tmp_path / "wheels")
    assert built.returncode == 0, built.stderr
    locked = uv("export", "--quiet", "--frozen", "--no-dev", "--no-hashes", "--no-emit-workspace")
    (tmp_path / "constraints.txt").write_text(locked.stdout)
    return tmp_path / "wheels"


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_five_commands_lead_from_wheels_to_an_enrollment(wheels: Path, tmp_path: Path) -> None:
    folder, environment = tmp_path / "home", tmp_path / "venv"
    folder.mkdir()
    assert uv("venv", "--quiet", "--python", sys.executable, environment).returncode == 0
    begun = time.monotonic()
    where = ("--python", environment / "bin/python", "--find-links", wheels)
    known = ("--constraints", tmp_path / "constraints.txt")
    installed = uv("pip", "install", "--quiet", *where, *known, "joinder[server,simulator]", "joinder-enphase")
    if installed.returncode:
        pytest.skip(f"no package index in reach: {installed.stderr.strip()[-200:]}")
    typed = await first_enrollment(Newcomer(folder, (str(environment / "bin/joinder"),)))
    print(f"\n{typed + 1} commands, {time.monotonic() - begun:.0f} s with the installation")
    assert typed + 1 == COMMANDS
