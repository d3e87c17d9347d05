"""Clients that two generators make of our OpenAPI document do the main job; the TypeScript one compiles as strict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clients.conftest import generated
from served import output_of
from toolboxes import GENERATOR, node_with, python_with

DATABASES = ("sqlite",)  # nothing here depends on the database

ROOT = Path(__file__).parents[2]
JOB = Path(__file__).with_name("generated_job.py")
pytestmark = pytest.mark.timeout(120)


async def test_a_python_client(document: Path, environment: dict[str, str], tmp_path: Path) -> None:
    python = python_with(GENERATOR)
    path = {**environment, **await generated(python, document, tmp_path)}
    origin, app, secret = (environment[name] for name in ("JOINDER", "CLIENT_ID", "CLIENT_SECRET"))
    seen = json.loads(await output_of(python, JOB, origin, app, secret, env=path))
    assert (len(seen["sites"]), seen["batteries"]) == (1, 1)
    assert len(seen["hours"]) >= 24
    assert sum(seen["hours"]) > 0


async def test_a_typescript_client_is_strict_and_runs(
    document: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The example itself, its types made of the document."""
    project = ROOT / "examples/typescript"
    tools = node_with(project)
    for name in ("package.json", "tsconfig.json", "first.ts"):
        shutil.copy(project / name, tmp_path / name)
    assert json.loads((tmp_path / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True
    (tmp_path / "node_modules").symlink_to(tools / "node_modules")
    binaries = tools / "node_modules/.bin"
    options = ("--default-non-nullable=false", "-o", tmp_path / "api.ts")
    await output_of(binaries / "openapi-typescript", document, *options, cwd=tmp_path)
    await output_of(binaries / "tsc", cwd=tmp_path)
    printed = await output_of("node", "dist/first.js", env=environment, cwd=tmp_path)
    assert "kWh in 2" in printed
    assert " 0.00 kWh" not in printed
