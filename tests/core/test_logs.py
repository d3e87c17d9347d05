"""One JSON object a line, with what the work is about on it, and no secret wherever it stands."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from joinder.observe import logs
from joinder.observe.log_context import bind, bound, log_context
from joinder.redact import MASK, Secrets

CANARY = 'can"ary\\é-7f3a\n91'  # what JSON and repr write in different ways
PLAIN = "hunter2hunter2"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What stands for standard error and is no terminal; the process's own logging comes back afterwards."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield io.StringIO()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    structlog.reset_defaults()


def configure(stream: io.StringIO, level: str, format: logs.Format = "auto") -> None:
    logging.getLogger().handlers.clear()  # or pytest's own would be closed
    with contextlib.redirect_stderr(stream):
        logs.configure(level, format)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_the_same_kind_of_line(stream: io.StringIO) -> None:
    configure(stream, "debug")
    with log_context(request_id="r-1", enrollment_id="enrl-x"):
        logging.getLogger("joinder.poll").warning("poll of %s", "enrl-x", extra={"job": "poll"})
        structlog.get_logger("joinder.other").debug("began", kind="poll")
    first, second = lines(stream)
    assert list(first)[:4] == ["timestamp", "level", "logger", "event"]
    assert first | {"timestamp": ""} == {
        "timestamp": "",
        "level": "WARNING",
        "logger": "joinder.poll",
        "event": "poll of enrl-x",
        "request_id": "r-1",
        "enrollment_id": "enrl-x",
        "job": "poll",
    }
    assert (second["level"], second["logger"], second["kind"]) == ("DEBUG", "joinder.other", "poll")
    assert second["request_id"] == "r-1"


def test_a_level_silences_what_is_below(stream: io.StringIO) -> None:
    configure(stream, "WARNING")
    logging.getLogger("joinder.x").info("no")
    structlog.get_logger("joinder.x").info("no")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("canary", [CANARY, PLAIN])
def test_no_live_secret_is_in_a_line_wherever_it_stands(stream: io.StringIO, format: logs.Format, canary: str) -> None:
    held = Secrets({"a": canary})
    configure(stream, "DEBUG", format)
    logger = logging.getLogger("joinder.x")
    with log_context(vendor=canary):
        logger.debug("%s", canary)
        logger.info(canary)
        logger.warning("x", extra={"deep": {canary: [canary, {"b": (canary,)}]}, "thing": ValueError(canary)})
        structlog.get_logger("joinder.y").error("y", value=canary, held=held, raw=canary.encode())
        try:
            raise RuntimeError(canary)
        except RuntimeError:
            logger.exception("failed")
    text = stream.getvalue()
    assert text.count(MASK) >= 8
    for form in (canary, repr(canary)[1:-1], json.dumps(canary)[1:-1], json.dumps(canary, ensure_ascii=False)[1:-1]):
        assert form not in text
    assert "RuntimeError" in text


@pytest.mark.parametrize("name", ["refresh_token", "password", "apikey", "client_secret", "code", "authorization"])
def test_a_value_under_the_name_of_a_secret_is_masked(stream: io.StringIO, name: str) -> None:
    configure(stream, "INFO", "json")
    structlog.get_logger("joinder.x").info("x", **{name: PLAIN, "deep": {name: PLAIN}})
    (line,) = lines(stream)
    assert line[name] == MASK
    assert line["deep"] == {name: MASK}


def test_numbers_stay_numbers_unless_they_are_secrets(stream: io.StringIO) -> None:
    held = Secrets({"pin": "48151623"})
    configure(stream, "INFO", "json")
    logging.getLogger("joinder.x").info("x", extra={"status": 200, "ms": 1.5, "on": True, "pin": 48151623})
    (line,) = lines(stream)
    assert (line["status"], line["ms"], line["on"], line["pin"]) == (200, 1.5, True, MASK)
    assert held["pin"] not in stream.getvalue()


def test_a_line_that_cannot_be_written_does_not_print_its_arguments(stream: io.StringIO) -> None:
    configure(stream, "INFO", "json")
    logging.getLogger("joinder.x").info("%d", PLAIN)
    assert PLAIN not in stream.getvalue()
    assert "joinder.x" in stream.getvalue()


def test_text_at_a_terminal_json_elsewhere(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "isatty", lambda: True)
    configure(stream, "INFO")
    with log_context(vendor="sunny"):
        logging.getLogger("joinder.x").info("began")
    line = stream.getvalue()
    assert line.endswith("Z INFO joinder.x began vendor=sunny\n")


async def test_what_one_task_binds_no_other_sees() -> None:
    async def work(name: str) -> dict[str, str]:
        with log_context(enrollment_id=name):
            await asyncio.sleep(0)
            bind(vendor=f"of-{name}")
            await asyncio.sleep(0)
            return dict(bound())

    with log_context(job="poll"):
        seen = await asyncio.gather(work("a"), work("b"))
        assert bound() == {"job": "poll"}
    assert seen == [{"job": "poll", "enrollment_id": n, "vendor": f"of-{n}"} for n in ("a", "b")]
    assert bound() == {}
