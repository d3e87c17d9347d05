"""Log lines to standard error, of this program's loggers and of structlog's; secrets taken out whatever the level.

Values are redacted before they are rendered, as JSON writes quotes and line ends in a way no live secret looks like.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from joinder.about import bound
from joinder.redact import MASK, redact

Format = Literal["auto", "json", "text"]
_FIRST = ("timestamp", "level", "logger", "event")


def configure(level: str, format: Format = "auto") -> None:
    """For a process of our own; libraries that embed Joinder keep their own logging. auto: text at a terminal."""
    chosen = ("text" if sys.stderr.isatty() else "json") if format == "auto" else format
    handler = _Handler()
    handler.setFormatter(formatter(chosen))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
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
    def handleError(self, record: logging.LogRecord) -> None:
        """The standard library would print the arguments as they are."""
        self.stream.write(f"a line of {record.name} cannot be written: {type(sys.exc_info()[1]).__name__}\n")


def _gathering() -> list[Processor]:
    return [
        _with_bound,
        structlog.stdlib.add_logger_name,
        _level_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
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


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
    return {redact(str(name)): _clean(str(name), value) for name, value in ordered.items()}


def _clean(name: str, value: object) -> object:
    """By the value, and by the name it goes under."""
    if isinstance(value, Mapping):
        return {redact(str(key)): _clean(str(key), member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, member) for member in value]
    if value is None or isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else str(value)
    cleaned = redact(text)
    if f"{name}={cleaned}" != redact(f"{name}={cleaned}"):
        return MASK
    return value if isinstance(value, int | float) and cleaned == text else cleaned


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=False)


def _text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """The message first, what it is about behind it, a traceback below."""
    trace = "".join(f"\n{event.pop(name)}" for name in ("exception", "stack") if name in event)
    head = " ".join(str(event.pop(name)) for name in _FIRST if name in event)
    return redact(" ".join([head, *(f"{name}={value}" for name, value in event.items())]) + trace)
