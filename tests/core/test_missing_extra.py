"""A command whose extra is not installed says which one it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from joinder.missing_extra import sentence


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("uvicorn", "'joinder[simulator]'"),
        ("granian.constants", "'joinder[server]'"),
        ("litestar", "'joinder[server]'"),
        ("rich_click", "'joinder[server]'"),
        ("sqlmodel", "'joinder[server]'"),
        ("asyncpg", "'joinder[postgres]'"),
        ("vcr", "'joinder[testing]'"),
        ("opentelemetry.sdk", "'joinder[otel]'"),
        ("textual", "pip install joinder-tui"),
    ],
)
def test_what_to_install_is_said(module: str, says: str) -> None:
    told = sentence(ModuleNotFoundError(name=module))
    assert told is not None
    assert says in told


@pytest.mark.parametrize("module", ["joinder.nothing", "nonsense", "", "sql"])
def test_a_bug_is_not_taken_for_it(module: str) -> None:
    assert sentence(ModuleNotFoundError(name=module)) is None


def test_a_command_says_it_and_ends() -> None:
    code = "import sys; sys.modules['rich_click'] = None; from joinder.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "This needs rich-click, which is not installed: pip install 'joinder[server]'\n"
