"""Tools that cannot live beside our pins, each in a folder of its own under the temporary one, made once.

Making one needs a package index, which tests never use: JOINDER_TOOLBOXES=1 (`make clients`) makes them; once they are
there, every run uses them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

UV = Path(__file__).parents[1] / ".uv/bin/uv"
DERAPI = ("derapi==0.1.2",)
GENERATOR = ("openapi-python-client==0.29.1",)
VARIABLE = "JOINDER_TOOLBOXES"


def python_with(packages: Sequence[str]) -> Path:
    """The interpreter of an environment with these packages. Skips the test where it cannot be had."""
    folder = _folder("-".join(packages))
    interpreter = folder / "bin/python"
    if not (folder / "complete").exists():
        _may_make(folder.name, UV.exists())
        environment = {"UV_PYTHON_PREFERENCE": "only-system", "UV_PYTHON_DOWNLOADS": "never"}
        _run([str(UV), "venv", "--clear", "--quiet", str(folder)], environment)
        _run([str(UV), "pip", "install", "--quiet", "--python", str(interpreter), *packages], environment)
        (folder / "complete").touch()
    return interpreter


def node_with(project: Path) -> Path:
    """A folder with what the package.json of `project` asks for. Skips the test where it cannot be had."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed here")
    package = json.loads((project / "package.json").read_text())
    wanted = json.dumps({name: package[name] for name in ("type", "dependencies", "devDependencies")})
    folder = _folder("joinder-typescript")
    done = folder / "complete"
    if not done.exists() or done.read_text() != wanted:
        _may_make(folder.name, shutil.which("npm") is not None)
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(wanted)
        _run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent"], {})
        done.write_text(wanted)
    return folder


def _folder(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"joinder-toolbox-{name.replace('==', '-')}"


def _may_make(name: str, can_make: bool) -> None:
    if os.environ.get(VARIABLE) != "1" or not can_make:
        pytest.skip(f"{name} is not here: `make clients` fetches it")


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=90, check=False)
    if done.returncode:
        pytest.skip(f"cannot be fetched: {done.stderr.decode()[-300:]}")
