"""A log that cannot be written never raises into whoever logs, says no secret, and counts what it lost."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.test_logs import configure, lines, stream
from joinder.observe import logs
from joinder.redact import Secrets

__all__ = ["stream"]

CANARY = "hunter2hunter2"
LOST = "lines before this one that could not be written"
log = logging.getLogger("joinder.away")


class Raises:
    """As a plugin's object might be."""

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error(CANARY)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        raise self.error(CANARY)


class RaisingMapping(dict[str, str]):
    def __len__(self) -> int:
        raise ValueError(CANARY)

    def __bool__(self) -> bool:
        raise ValueError(CANARY)

    def items(self) -> Any:
        raise ValueError(CANARY)


class Stream(io.StringIO):
    """Fails while it is told to, and not as a file."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)

    def flush(self) -> None:
        if self.error is not None:
            raise self.error


@contextlib.contextmanager
def logging_to(file: Any, format: logs.Format = "json") -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    root.handlers.clear()
    try:
        with contextlib.redirect_stderr(file):
            logs.configure("INFO", format)
        yield
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        structlog.reset_defaults()


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, Any]]:
    """Its reading end, and its writing end as a stream."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        yield reader, file
    with contextlib.suppress(OSError):
        os.close(reader)


def cyclic() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["it"] = found
    return found


ERRORS = (ValueError, MemoryError, RecursionError, SystemExit, GeneratorExit)


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_object_whose_text_raises_is_a_line_without_it(
    stream: io.StringIO, format: logs.Format, error: type[BaseException]
) -> None:
    held = Secrets({"a": CANARY})
    configure(stream, "INFO", format)
    broken = Raises(error)
    for call in (log.info, structlog.get_logger("joinder.away").info):
        call("with %s", broken)
        call(broken)
        call("%s", {"deep": broken})
    log.info("x", extra={"thing": broken, "deep": [broken, {"a": broken}]})
    log.info("x", extra={"deep": {broken: 1}})
    structlog.get_logger("joinder.away").info("x", thing=broken)
    try:
        raise error(broken)
    except error:
        log.exception("failed")
    text = stream.getvalue()
    assert len(text.splitlines()) >= 10
    assert held["a"] not in text
    assert text.count(error.__name__) >= 8


@pytest.mark.parametrize(
    "arguments", [("%d", CANARY), ("%s",), ("%s %s", CANARY), ("%(a)s", CANARY), ("%z", 1), (7, 8)]
)
@pytest.mark.parametrize("kind", [logging.getLogger, structlog.get_logger])
def test_arguments_that_do_not_fit_are_a_line_that_says_where(
    stream: io.StringIO, kind: Any, arguments: tuple[Any, ...]
) -> None:
    configure(stream, "INFO", "json")
    kind("joinder.away").error(*arguments)
    (line,) = lines(stream)
    assert (line["logger"], line["level"]) == ("joinder.away", "ERROR")
    assert CANARY not in stream.getvalue()
    assert arguments == ("%s",) or "cannot be written" in line["event"]


def test_a_mapping_that_raises_and_one_that_holds_itself(stream: io.StringIO) -> None:
    configure(stream, "INFO", "json")
    log.info("%s", RaisingMapping())
    log.info("x", extra={"deep": RaisingMapping()})
    log.info("x", extra={"deep": cyclic()})
    assert len(lines(stream)) == 3
    assert all("cannot be written" in line["event"] for line in lines(stream))
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed"), RuntimeError(CANARY), RecursionError()]
)
def test_a_stream_that_raises_is_not_heard_of_and_what_was_lost_is_counted_once(error: Exception) -> None:
    stream = Stream()
    with logging_to(stream):
        log.info("before")
        stream.error = error
        for number in range(5):
            log.warning("lost %d %s", number, CANARY)
        log.info("%d", CANARY)
        logging.getLogger().handlers[0].flush()
        stream.error = None
        log.info("again")
        log.info("and again")
    told = lines(stream)
    assert [line["event"] for line in told] == ["before", f"{LOST}: 6", "again", "and again"]
    assert (told[1]["level"], told[1]["logger"]) == ("WARNING", "joinder.logs")


def test_a_closed_stream_and_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        stream.close()
        log.info("x")
        logging.getLogger().handlers[0].flush()
    with logging_to(None):
        log.info("x")
        logging.getLogger().handlers[0].flush()


def test_a_file_on_a_full_disk_and_a_closed_one() -> None:
    with open("/dev/full", "w") as full, logging_to(full):
        log.info("x %s", CANARY)
        log.error("y" * 10_000)
        logging.getLogger().handlers[0].flush()
    with logging_to(full):  # which is closed
        log.info("x")
        logging.getLogger().handlers[0].flush()


def test_nothing_of_a_lost_line_stays_in_the_streams_buffer() -> None:
    """It would fail once more when the process ends."""
    with open("/dev/full", "w") as full, logging_to(full):
        log.info("x")
    assert full.closed


def test_a_pipe_whose_reader_has_gone_and_a_fifo_whose_reader_comes_back(tmp_path: Path) -> None:
    with pipe() as (reader, writer), logging_to(writer):
        os.close(reader)
        log.info("x")
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("w") as writer, logging_to(writer):
        log.info("heard")
        assert b"heard" in os.read(first, 65536)
        os.close(first)
        log.info("not heard")
        log.info("not heard")
        second = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        log.info("heard again")
        told = os.read(second, 65536).decode()
        os.close(second)
    assert [json.loads(line)["event"] for line in told.splitlines()] == [f"{LOST}: 2", "heard again"]


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    with pipe() as (reader, writer), logging_to(writer):
        began = time.monotonic()
        for number in range(200):
            log.info("%d %s", number, "x" * 5000)
        assert time.monotonic() - began < 10
        told = b""
        while select.select([reader], [], [], 0)[0]:
            told += os.read(reader, 65536)
        log.info("again")
        told += os.read(reader, 65536)
    whole = [line for line in told.decode().splitlines() if line.endswith("}")]
    events = [json.loads(line)["event"] for line in whole]
    assert events[-1] == "again"
    assert events[-2].startswith(LOST)
    assert len(events) - 2 + int(events[-2].rpartition(" ")[2]) == 200


def test_long_lines_come_whole_through_a_pipe_that_is_read() -> None:
    got: list[bytes] = []
    with pipe() as (reader, writer), logging_to(writer):
        reading = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(reader, 1000), b"")))
        reading.start()
        for number in range(5):
            log.info("%d %s", number, "x" * 300_000)
        writer.close()
        reading.join()
    assert [json.loads(line)["event"][0] for line in b"".join(got).splitlines()] == list("01234")


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_line_cut_in_the_middle_spoils_no_other(
    tmp_path: Path, format: logs.Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with (tmp_path / "log").open("w") as file, logging_to(file, format):
        monkeypatch.setattr(os, "write", lambda place, data: real(place, data[:20]) if len(data) > 100 else _full())
        log.info("cut %s", "x" * 100)
        monkeypatch.undo()
        log.info("whole")
    told = (tmp_path / "log").read_text().splitlines()
    assert len(told) == 3
    assert LOST in told[1]
    assert "whole" in told[2]


def _full() -> int:
    raise OSError(28, "No space left on device")


PROGRAM = """
import asyncio, logging, os, sys, threading
from joinder.observe import logs
logs.configure("INFO")
log = logging.getLogger("joinder.x")
async def work():
    {act}
    for number in range(3):
        log.info("%d", number)
    log.error("%d", "hunter2hunter2")
    asyncio.get_running_loop().call_exception_handler({{"message": "x", "exception": ValueError("x")}})
    logging.getLogger().handlers[0].flush()
    print("alive")
asyncio.run(work())
logging.shutdown()
"""
AWAY = {
    "full": ("pass", "/dev/full"),
    "closed by us": ("sys.stderr.close()", "/dev/null"),
    "closed below us": ("os.close(2)", "/dev/null"),
    "none": ("sys.stderr = None", "/dev/null"),
}


@pytest.mark.parametrize("kind", AWAY)
def test_a_process_ends_well_whatever_its_standard_error_is(kind: str) -> None:
    act, place = AWAY[kind]
    asked = [sys.executable, "-c", PROGRAM.format(act=act)]
    with open(place, "w") as file:
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=file, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_a_process_begins_without_a_standard_error() -> None:
    asked = f"exec {sys.executable} -c '{PROGRAM.format(act='pass')}' 2>&-"
    done = subprocess.run(["bash", "-c", asked], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_a_process_lives_on_when_the_reader_of_its_pipe_goes() -> None:
    asked = f"{sys.executable} -c '{PROGRAM.format(act='import time; time.sleep(1)')}' 2> >(exec true)"
    done = subprocess.run(["bash", "-c", asked], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")


HOSTILE: Mapping[str, str] = {
    "line ends": "one\r\nFAKE line 2026-01-01 ERROR\n2026-01-01T00:00:00Z ERROR forged\x85x\u2028y",
    "orders": "\x1b]0;pwned\x07\x9b31m\x1b[2J\x08",
    "unseen": "\u202egnp.exe\u2066a\u200bb\ufeff",
    "surrogate": "\ud800x",
}


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_others_named_neither_forges_a_line_nor_steers_who_reads(
    stream: io.StringIO, format: logs.Format, kind: str
) -> None:
    name = HOSTILE[kind]
    configure(stream, "INFO", format)
    log.info("join: %s", name)
    log.info(name, extra={"site": name, "deep": {name: [name]}})
    structlog.get_logger("joinder.x").info("x", **{name: name})
    text = stream.getvalue()
    assert text.count("\n") == len(text.splitlines()) == 3
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    if format == "json":
        assert lines(stream)[1]["site"] == name


def test_an_errors_text_forges_no_line_of_a_traceback(stream: io.StringIO) -> None:
    configure(stream, "INFO", "text")
    try:
        raise RuntimeError(HOSTILE["line ends"] + HOSTILE["orders"])
    except RuntimeError:
        log.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR joinder.away failed")
    assert rest
    assert all(line.startswith("  ") for line in rest)
    assert all(letter.isprintable() for line in rest for letter in line)
