"""The journal's files: what was written is read by whoever comes, what is cut or foreign says nothing."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from joinder.store import journal as module
from joinder.store.journal import Journal, Line

FIRST = Line(store="a-store", enrollment="", account="", version=0, at=1, sealed=b"")


def line(enrollment: str, version: int) -> Line:
    return Line(store="a-store", enrollment=enrollment, account="acct-1", version=version, at=10, sealed=b"\0\n\xff")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "journal", "ours")
    await made.begin(FIRST)
    yield made
    await made.close()


def lines_of(journal: Journal) -> list[Line]:
    return [line for file in journal.read() for line in file.lines if line.enrollment]


async def test_what_is_added_can_be_read_at_once_and_is_on_disk_when_it_is_closed(journal: Journal) -> None:
    journal.add(line("ada", 2))
    journal.add(line("bob", 7))
    assert lines_of(journal) == [line("ada", 2), line("bob", 7)]
    await journal.close()
    assert (journal.holds("ada", 2), journal.holds("ada", 3), journal.holds("bob", 7)) == (True, False, True)
    assert (journal.newest("ada"), journal.newest("eve")) == (2, None)


async def test_only_its_owner_may_read_it(journal: Journal) -> None:
    folder = journal.folder
    assert folder is not None
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


async def test_whether_the_writer_lives(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "journal", "other")
    assert other.is_writing("ours") is True
    assert [file.is_written for file in other.read()] == [True]
    await journal.close()
    assert other.is_writing("ours") is False
    assert other.is_writing("nobody") is None
    await other.close()


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from joinder.store.journal import Journal, Line
async def main():
    journal = Journal(Path(sys.argv[1]), "killed")
    await journal.begin(Line(store="a-store", enrollment="", account="", version=0, at=1, sealed=b""))
    journal.add(Line(store="a-store", enrollment="ada", account="acct-1", version=2, at=10, sealed=b"x"))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_what_was_added_just_before_a_kill_is_there(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "journal")], check=False)
    journal = Journal(tmp_path / "journal", "ours")
    assert killed.returncode == -9
    assert [one.enrollment for one in lines_of(journal)] == ["ada"]
    assert journal.is_writing("killed") is False


@pytest.mark.parametrize("cut", range(1, 40, 3))
async def test_a_line_that_was_cut_off_is_none_and_hides_no_other(journal: Journal, cut: int) -> None:
    journal.add(line("ada", 2))
    await journal.close()
    assert journal.folder is not None
    (file,) = journal.folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines(keepends=True)[-1][:cut])
    (found,) = journal.read()
    assert ([one.enrollment for one in found.lines], found.damaged) == (["", "ada"], 0)


@pytest.mark.parametrize("rubbish", [b"\xff\xfe\n", b"{}\n", b"[1]\n", b"\n", b'{"store": 5}\n'])
async def test_damage_is_counted_and_the_rest_is_read(journal: Journal, rubbish: bytes) -> None:
    await journal.close()
    assert journal.folder is not None
    (file,) = journal.folder.iterdir()
    file.write_bytes(rubbish + file.read_bytes())
    (found,) = journal.read()
    assert (len(found.lines), found.damaged) == (1, 1)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Takes half of what is written while its one member is True."""
    write, is_full = os.write, [False]

    def some(descriptor: int, data: Any) -> int:
        if not is_full[0]:
            return write(descriptor, data)
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(module.os, "write", some)
    yield is_full
    is_full[0] = False


async def test_on_a_full_disk_lines_wait_in_memory_and_none_is_half_written(
    journal: Journal, full_disk: list[bool]
) -> None:
    journal.add(line("ada", 2))
    full_disk[0] = True
    journal.add(line("bob", 2))
    assert journal.trouble == f"{journal.folder} cannot be written to (No space left on device)"
    assert lines_of(journal) == [line("ada", 2)]
    full_disk[0] = False
    journal.add(line("eve", 2))
    assert journal.trouble is None
    assert lines_of(journal) == [line("ada", 2), line("bob", 2), line("eve", 2)]
    assert [file.damaged for file in journal.read()] == [0]


async def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal", "ours")
    await journal.begin(FIRST)
    journal.add(line("ada", 2))
    assert journal.trouble is not None
    assert journal.read() == []
    await journal.close()


async def test_without_a_folder_it_is_kept_in_memory(tmp_path: Path) -> None:
    journal = Journal(None, "ours")
    await journal.begin(FIRST)
    journal.add(line("ada", 2))
    assert (journal.newest("ada"), journal.holds("ada", 2), journal.read()) == (2, False, [])
    await journal.close()


async def test_an_old_file_is_followed_by_one_with_what_is_not_stored_yet(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(line("stored", 2))
    journal.stored("stored", 2)
    journal.add(line("waits", 2))
    monkeypatch.setattr(module, "KEPT_S", -1.0)
    for number in range(3):
        journal.add(line(f"later-{number}", 2))
        journal.stored(f"later-{number}", 2)
        while journal._syncing is not None and not journal._syncing.done():
            journal._syncing.result(30)
    names = [one.enrollment for one in lines_of(journal)]
    assert "waits" in names
    assert "stored" not in names
    assert len(journal.read()) == 2


async def test_what_is_kept_in_memory_is_only_what_the_database_lacks() -> None:
    journal = Journal(None, "ours")
    for number in range(50):
        journal.add(line(f"home-{number}", 2))
        journal.stored(f"home-{number}", 2)
    journal.add(line("waits", 2))
    assert list(journal._in_memory) == ["waits"]
    await journal.close()


async def test_a_disk_that_was_full_at_the_first_file_is_written_to_later(
    tmp_path: Path, full_disk: list[bool]
) -> None:
    journal = Journal(tmp_path / "journal", "ours")
    full_disk[0] = True
    await journal.begin(FIRST)
    journal.add(line("ada", 2))
    assert journal.trouble is not None
    full_disk[0] = False
    await journal.begin(FIRST)
    assert set(lines_of(journal)) == {line("ada", 2)}
    assert journal.trouble is None
    assert len(os.listdir(tmp_path / "journal")) == 1
    await journal.close()


async def test_who_begins_at_the_same_time_makes_one_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "ours")
    await asyncio.gather(*(journal.begin(FIRST) for _ in range(5)))
    assert len(journal.read()) == 1
    await journal.close()


async def test_a_file_without_its_writers_lock_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making and locking it, others would take its writer for gone, and end it as one without lines."""
    other, seen = Journal(tmp_path / "journal", "other"), []
    flock = fcntl.flock

    def look_first(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX | fcntl.LOCK_NB:
            seen.append(list((tmp_path / "journal").glob("*.journal")))
        flock(descriptor, operation)

    monkeypatch.setattr(module.fcntl, "flock", look_first)
    journal = Journal(tmp_path / "journal", "ours")
    await journal.begin(FIRST)
    assert (seen, other.is_writing("ours")) == ([[]], True)
    await journal.close()
    await other.close()


async def test_who_cannot_look_takes_no_writer_for_gone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left, or another user's file: whoever is taken for gone has its token sent again."""
    other = Journal(journal.folder, "other")

    def refused(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", refused)
        assert other.is_writing("ours") is True
    await other.close()


async def test_a_sync_that_failed_is_done_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, is_broken = os.fsync, [True]

    def some(descriptor: int) -> None:
        if is_broken[0]:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(module.os, "fsync", some)
    journal.add(line("ada", 2))
    assert journal._syncing is not None
    journal._syncing.result(30)
    assert journal.trouble is not None
    is_broken[0] = False
    journal.retry()
    journal._syncing.result(30)
    assert (journal.holds("ada", 2), journal.trouble) == (True, None)


async def test_a_pipe_or_a_folder_of_such_a_name_is_no_file_of_a_journal(journal: Journal) -> None:
    assert journal.folder is not None
    os.mkfifo(journal.folder / "left-1.journal")
    (journal.folder / "folder-1.journal").mkdir()
    assert (len(journal.read()), journal.is_writing("left")) == (1, None)
