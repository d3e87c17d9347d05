"""Tab in a shell: names of commands and options, without a database."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Shell


@pytest.fixture
def bash(joinder: Shell, tmp_path: Path) -> Shell:
    """A place where anything that opened the store would show."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return Shell(empty)


def completed(shell: Shell, *words: str) -> list[str]:
    """What bash itself offers for the last of `words`, by the script that it was given."""
    script = (
        'eval "$(joinder completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_joinder_completion joinder; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "joinder", *words],
        env={**shell.env, "PATH": f"{Path(sys.executable).parent}:{shell.env['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_options_without_a_store(bash: Shell, tmp_path: Path) -> None:
    assert completed(bash, "acc") == ["accounts"]
    assert completed(bash, "keys", "ro") == ["rotate"]
    assert completed(bash, "keys", "rotate", "--pre") == ["--prepare"]
    assert completed(bash, "completion", "f") == ["fish"]
    assert completed(bash, "read-g") == ["read-gateway"]
    assert completed(bash, "nonsense", "x") == []
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("shell", "holds"), [("zsh", "#compdef joinder"), ("fish", "complete --no-files --command joinder")]
)
def test_the_script_of_another_shell(bash: Shell, shell: str, holds: str) -> None:
    done = bash("completion", shell)
    assert (done.returncode, holds in done.stdout, f"_JOINDER_COMPLETE={shell}_complete" in done.stdout) == (
        0,
        True,
        True,
    )
    words = {"COMP_WORDS": "joinder acc", "COMP_CWORD": "1" if shell == "zsh" else "acc"}
    offered = bash(_JOINDER_COMPLETE=f"{shell}_complete", **words)
    assert (offered.returncode, "accounts" in offered.stdout, "backup" in offered.stdout) == (0, True, False)


def test_an_unknown_shell_is_a_wrong_use(bash: Shell) -> None:
    assert bash("completion", "tcsh").returncode == 2
