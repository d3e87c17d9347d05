"""What a shell, a disk or a machine does to a command: a sentence, a way on, an exit code, and no traceback."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.conftest import Shell
from joinder import start, templates
from joinder.store import key_file

JOINDER = f"{shlex.quote(sys.executable)} -m joinder"
PRINTS = ("config reference --markdown", "--help", "vendors --json", "openapi")


def in_bash(joinder: Shell, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    # CPython puts half a .pyc in place where a file may not grow, and whoever imports it next fails
    told = {**joinder.env, "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run(["bash", "-c", line], env=told, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("command", PRINTS)
def test_who_reads_no_further_is_told_nothing(joinder: Shell, command: str) -> None:
    done = in_bash(joinder, f"{JOINDER} {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


@pytest.mark.parametrize("command", PRINTS)
def test_output_that_finds_no_room_is_a_sentence(joinder: Shell, command: str) -> None:
    done = in_bash(joinder, f"{JOINDER} {command} > /dev/full")
    assert (done.returncode, done.stderr) == (1, "The output cannot be written: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_printed_into_a_closed_stream_lands_in_no_file(joinder: Shell, tmp_path: Path, closed: str) -> None:
    assert in_bash(joinder, f"{JOINDER} accounts create Acme {closed}").returncode == 0
    assert [row["name"] for row in joinder.json("accounts", "list")] == ["Acme"]
    assert (tmp_path / "joinder.sqlite3").read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--config a --config b config path", "settings come from one file"),
        ("--config '' config path", "no file's name"),
        ("--config ~nobody-of-that-name/x config path", "write the whole path"),
    ],
)
def test_a_wrong_use_of_the_file_of_settings_is_told(joinder: Shell, line: str, says: str) -> None:
    done = in_bash(joinder, f"{JOINDER} {line}", COLUMNS="200")
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Nothing can be made in the folder, by root neither."""
    folder.chmod(0o500)
    is_root = os.geteuid() == 0
    if is_root and subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("this file system has no immutable folders")
    try:
        yield
    finally:
        if is_root:
            subprocess.run(["chattr", "-i", folder], check=True)
        folder.chmod(0o700)


@pytest.mark.parametrize("command", ["accounts list", "serve", "worker", "doctor"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_may_not_be_written_stops_every_start(
    joinder: Shell, tmp_path: Path, command: str, is_there: bool
) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    joinder.env["JOINDER_DATABASE_URL"] = f"sqlite:///{folder}/hub.sqlite3"
    if is_there:
        assert joinder("accounts", "create", "Acme").returncode == 0
    before = sorted(folder.iterdir())
    with unwritable(folder):
        done = joinder(*command.split())
    told = done.stdout + done.stderr
    assert (done.returncode, f"this user may not write into {folder}" in told) == (78, True), told
    assert sorted(folder.iterdir()) == before


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file takes a byte more, as on a full disk; all of them can be made."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(key_file, "_write", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)


@pytest.mark.parametrize("line", ["keys create {}", "openapi --output {}", "status --html --output {}"])
def test_a_full_disk_leaves_no_half_file(joinder: Shell, tmp_path: Path, full: None, line: str) -> None:
    path = tmp_path / "made"
    done = joinder(*line.format(path).split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path} cannot be written: No space left on device")
    assert not [found for found in tmp_path.iterdir() if "made" in found.name]


def test_half_a_plugin_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(OSError, match="No space left"):
        templates.render("acme", "Acme", tmp_path / "acme")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["new-vendor acme --into made", "init made --account Acme --no-input"])
def test_where_no_file_may_grow_one_is_named_and_none_is_left(joinder: Shell, tmp_path: Path, line: str) -> None:
    done = in_bash(joinder, f"cd {tmp_path} && ulimit -f 0 && {JOINDER} {line}")
    assert (done.returncode, "made" in done.stderr, "File too large" in done.stderr) == (1, True, True), done.stderr
    assert "Configuration" not in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("line", ["demo --once --folder made", "dev sma --no-reload --folder made"])
def test_what_runs_a_whole_hub_says_where_room_is_missing(joinder: Shell, tmp_path: Path, line: str) -> None:
    done = in_bash(joinder, f"cd {tmp_path} && ulimit -f 1 && {JOINDER} {line}")
    told = (
        "The database cannot be used (SQLITE_" if done.returncode == 75 else "cannot be read or written: File too large"
    )
    assert (done.returncode in (1, 75), told in done.stderr) == (True, True), done.stderr


def test_a_copy_without_room_is_no_mistake_of_the_settings(joinder: Shell, tmp_path: Path) -> None:
    joinder("accounts", "create", "Acme")
    done = in_bash(joinder, f"cd {tmp_path} && ulimit -f 0 && {JOINDER} backup copies/copy.sqlite3", TMPDIR="/dev/null")
    assert (done.returncode, done.stderr) == (1, "The folder copies does not exist\n")
    done = in_bash(joinder, f"cd {tmp_path} && ulimit -f 64 && {JOINDER} backup copy.sqlite3")
    assert (done.returncode, f"joinder.sqlite3 cannot be copied into {tmp_path}" in done.stderr) == (1, True), (
        done.stderr
    )
    assert not [*tmp_path.glob("*copy*")]


def test_a_file_that_cannot_be_made_is_named(joinder: Shell) -> None:
    done = in_bash(joinder, f"{JOINDER} new-vendor acme --into /dev/null/x")
    assert (done.returncode, done.stderr) == (1, "/dev/null/x cannot be read or written: Not a directory\n")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///{tmp}", "is a directory; name the file in it, as {tmp}/joinder.sqlite3"),
        ("sqlite:////dev/null", "/dev/null is not a regular file"),
        ("sqlite:///{tmp}/" + "x" * 300, "File name too long"),
        ("sqlite:///{tmp}/none/x", "the folder {tmp}/none does not exist"),
        ("postgresql://me:canary@127.0.0.1:99999/x", "the port must lie between 1 and 65535"),
        ("postgresql://me:canary@127.0.0.1:port/x", "the port must lie between 1 and 65535"),
        ("postgresql://me:canary@db..example/x", "no host can have the name in it"),
        ("postgresql://me:canary@db example/x", "no host can have the name in it"),
    ],
)
def test_what_can_be_no_database_is_told_before_anything_is_made(
    joinder: Shell, tmp_path: Path, url: str, says: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = joinder("accounts", "list", JOINDER_DATABASE_URL=url.format(tmp=tmp_path))
    assert (done.returncode, done.stdout) == (78, "")
    assert says.format(tmp=tmp_path) in done.stderr
    assert "canary" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_pipe_is_no_key_file_and_nobody_waits_for_it(joinder: Shell, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = joinder("accounts", "list", JOINDER_KEY_FILE=str(tmp_path / "pipe"))
    assert (done.returncode, "is not a regular file" in done.stderr) == (78, True)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("192.0.2.1", "no interface of this machine has that address; set JOINDER_HOST"),
        ("nobody.invalid", "no address has that name; set JOINDER_HOST"),
    ],
)
def test_an_address_where_nobody_can_listen_is_told_with_the_way_on(joinder: Shell, host: str, says: str) -> None:
    done = joinder("serve", JOINDER_HOST=host)
    assert (done.returncode, says in done.stderr) == (78, True), done.stderr


def test_a_port_that_is_taken_names_the_setting(joinder: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = joinder("serve", JOINDER_PORT=port)
        assert (done.returncode, "another program listens there already" in done.stderr) == (78, True)
        done = joinder("serve", JOINDER_PORT="0", JOINDER_METRICS_PORT=port)
        assert (done.returncode, "set JOINDER_METRICS_PORT to a free one" in done.stderr) == (78, True)
        done = joinder("tui", "--serve", "--port", port)
        assert (done.returncode, "set --port to a free one" in done.stderr) == (1, True)
    done = joinder("serve", JOINDER_PORT=port, JOINDER_METRICS_PORT=port)
    assert (done.returncode, f"are both {port}; give each a port of its own" in done.stderr) == (78, True)


def test_a_vendor_that_no_plugin_is_has_no_password_grants(joinder: Shell) -> None:
    for command in (("accounts", "list"), ("config", "check")):
        done = joinder(*command, JOINDER_PASSWORD_GRANTS="enphasy")
        assert (done.returncode, "did you mean enphase?" in done.stderr) == (78, True)


def test_who_stops_a_command_before_it_has_begun_sees_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        start.run(stopped)
    assert (ended.value.code, capsys.readouterr().err) == (1, "Aborted.\n")


def test_a_bug_of_ours_is_no_trouble_of_the_machine() -> None:
    def broken() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        start.run(broken)


def test_init_takes_no_option_that_it_would_not_use(joinder: Shell, tmp_path: Path) -> None:
    told = joinder("init", str(tmp_path / "hub"), "--account", "A", "--redirect-uri", "https://app.example/")
    assert (told.returncode, "--simulators" in told.stderr) == (2, True)
    assert not (tmp_path / "hub").exists()
