"""Log lines to standard error, secrets taken out by value and by shape whatever the level."""

from __future__ import annotations

import logging

from joinder.redact import redact


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(level: str) -> None:
    """For a process of our own; libraries that embed Joinder keep their own logging."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # lists its plugins at INFO
