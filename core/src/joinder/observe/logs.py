"""Log lines to standard error, of this program's loggers and of structlog's; secrets taken out whatever the level.

Values are redacted before they are rendered, as JSON writes quotes and line ends in a way no live secret looks like.
What others named is one line of visible letters (clean.py). Nothing here raises into whoever logs: a new token may be
in his hands.
"""

from __future__ import annotations

import json
import logging
import os
import select
import stat
import sys
from asyncio import CancelledError
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from joinder.clean import clean_json, clean_line, clean_text
from joinder.clock import monotonic
from joinder.observe.log_context import bound
from joinder.redact import MASK, redact
from joinder.trouble import Answered, StoreTrouble

Format = Literal["auto", "json", "text"]
PATIENCE_MS = 250  # with a reader that does not read; none while lines are being lost
MINUTE_S = 60.0
CHATTER_LINES, LINES, CRITICAL_LINES = 2, 4, 5  # of a store's trouble, a minute; beside at most five ends (trouble.py)
_CHATTER = ("aiosqlite", "asyncio", "asyncpg", "pgqueuer", "sqlalchemy")  # what they say in such a trouble is about it
_FIRST = ("timestamp", "level", "logger", "event")
_WHATEVER = (Exception, SystemExit, GeneratorExit, CancelledError)  # that the text of a foreign object may raise


def configure(level: str, format: Format = "auto") -> None:
    """Sets up logging of a process of our own; who embeds Joinder keeps theirs. auto: text at a terminal."""
    chosen = ("text" if _is_terminal(sys.stderr) else "json") if format == "auto" else format
    handler = _Handler()
    handler.setFormatter(formatter(chosen))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.setLogRecordFactory(_record)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # lists its plugins at INFO
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_gathering(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def formatter(format: Literal["json", "text"]) -> logging.Formatter:
    """Redacts whatever a record holds: message, arguments, `extra`, bound values, traceback."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_gathering(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redacted,
            _json if format == "json" else _text,
        ],
    )


class _Handler(logging.StreamHandler[Any]):
    """Counts the lines that cannot be written, and says how many they were once it can write again.

    A file is written past the stream's buffer, which would keep what failed and fail again at the process's end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._is_torn = False  # the last line was cut in the middle
        self._troubles = _StoreTroubles()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._troubles.lets(record):
                self._say(self.format(record))
        except _WHATEVER:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says where; the standard library would print the arguments as they are."""
        error = sys.exc_info()[1]
        with suppress(Exception):
            place = f"{PurePath(record.pathname).name}:{record.lineno}"
            told = f"a line at {place} cannot be written: {type(error).__name__}"
            self._say(self.format(logging.LogRecord(record.name, record.levelno, "", 0, told, None, None)))

    def flush(self) -> None:
        with suppress(Exception):
            super().flush()

    def _say(self, line: str) -> None:
        try:
            if self._lost:
                self._put(self.format(_lost_lines(self._lost)))
                self._lost = 0
            self._put(line)
        except Exception:  # noqa: BLE001 - whatever a stream raises, whoever logs has other things to do
            self._lost += 1

    def _put(self, line: str) -> None:
        file = _file_of(self.stream)
        if file is None:
            self.stream.write(line + self.terminator)
            self.stream.flush()
            return
        left = ("\n" * self._is_torn + line + self.terminator).encode(errors="backslashreplace")
        while left:
            left = left[_written(file, left, 0 if self._lost else PATIENCE_MS) :]
            self._is_torn = bool(left)


class _StoreTroubles:
    """Lets few lines of one trouble of the store through, and counts the others for the line that ends it.

    Of it are lines that hold a StoreTrouble, and while it lasts whatever the libraries below say; of a connection that
    is gone they speak before anybody else.
    """

    def __init__(self) -> None:
        self._told_at: deque[float] = deque()
        self._lasts = False
        self._left_out = 0

    def lets(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        end = next((one for one in arguments if isinstance(one, Answered)), None)
        if end is not None:
            end.left_out, self._left_out, self._lasts = self._left_out, 0, False
            return True
        error = record.exc_info[1] if record.exc_info else None
        if any(isinstance(one, StoreTrouble) for one in (*arguments, error)):
            self._lasts = True
            return self._has_room(CRITICAL_LINES if record.levelno >= logging.CRITICAL else LINES)
        is_chatter = record.name.partition(".")[0] in _CHATTER and (self._lasts or _is_of_a_connection(error))
        return not is_chatter or self._has_room(CHATTER_LINES)

    def _has_room(self, lines: int) -> bool:
        moment = monotonic()
        while self._told_at and self._told_at[0] <= moment - MINUTE_S:
            self._told_at.popleft()
        if len(self._told_at) >= lines:
            self._left_out += 1
            return False
        self._told_at.append(moment)
        return True


def _is_of_a_connection(error: BaseException | None) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("asyncpg", "sqlite3")


def _lost_lines(count: int) -> logging.LogRecord:
    text = f"lines before this one that could not be written: {count}"
    return logging.LogRecord("joinder.logs", logging.WARNING, "", 0, text, None, None)


def _file_of(stream: Any) -> int | None:
    """Returns None for what is no file, such as a test's."""
    try:
        return int(stream.fileno())
    except Exception:  # noqa: BLE001 - closed, taken away, or never a file: its own `write` says so
        return None


def _written(file: int, data: bytes, patience_ms: int) -> int:
    """Tells how many bytes went out. A pipe takes PIPE_BUF bytes without blocking whenever it says it has room."""
    waiting = select.poll()
    waiting.register(file, select.POLLOUT)
    if not waiting.poll(patience_ms):
        raise TimeoutError("nobody reads")
    whole = len(data) <= select.PIPE_BUF or stat.S_ISREG(os.fstat(file).st_mode)
    written = os.write(file, data if whole else data[: select.PIPE_BUF])
    if not written:
        raise OSError("it takes nothing")
    return written


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - closed, or there is none
        return False


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Makes a record and never raises: the standard library looks into arguments at once, in whoever logs."""
    try:
        return logging.LogRecord(*args, **kwargs)
    except _WHATEVER as error:
        name, level, place, line, _, _, exc_info, *rest = args
        told = f"a line cannot be written: {type(error).__name__}"
        return logging.LogRecord(name, level, place, line, told, (), exc_info, *rest, **kwargs)


def _gathering() -> list[Processor]:
    return [
        _with_bound,
        structlog.stdlib.add_logger_name,
        _level_name,
        _with_arguments,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _with_bound(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in bound().items():
        event.setdefault(name, value)
    return event


def _level_name(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    event["level"] = record.levelname if record is not None else method.upper()
    return event


def _with_arguments(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Puts the arguments into a line of structlog's loggers; never raises into whoever logs."""
    try:
        return dict(_POSITIONAL(logger, method, event))
    except _WHATEVER as error:
        kept = {name: value for name, value in event.items() if name != "positional_args"}
        return {**kept, "event": f"a line cannot be written: {type(error).__name__}"}


_POSITIONAL = structlog.stdlib.PositionalArgumentsFormatter()


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
    return {redact(_text_of(name)): _clean(_text_of(name), value) for name, value in ordered.items()}


def _clean(name: str, value: object) -> object:
    """Redacts by the value, and by the name it goes under."""
    if isinstance(value, Mapping):
        return {redact(_text_of(key)): _clean(_text_of(key), member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, member) for member in value]
    if value is None or isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else _text_of(value)
    cleaned = redact(text)
    if f"{name}={cleaned}" != redact(f"{name}={cleaned}"):
        return MASK
    return value if isinstance(value, int | float) and cleaned == text else cleaned


def _text_of(value: object) -> str:
    try:
        return str(value)
    except _WHATEVER as error:
        return f"<{type(value).__name__}, whose text raises {type(error).__name__}>"


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return clean_json(json.dumps(event, ensure_ascii=False))


def _text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """The message first, what it is about behind it; a traceback below, indented: no line of it begins as ours do."""
    trace = "".join(f"\n{event.pop(name)}" for name in ("exception", "stack") if name in event)
    head = " ".join(str(event.pop(name)) for name in _FIRST if name in event)
    line = clean_line(" ".join([head, *(f"{name}={value}" for name, value in event.items())]))
    return redact(line + clean_text(trace).replace("\n", "\n  "))
