"""What one logger writes, as the JSON lines of a server."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joinder.observe.logs import formatter


@contextmanager
def json_lines(name: str) -> Iterator[list[dict[str, Any]]]:
    """The list is filled when the block ends."""
    found: list[dict[str, Any]] = []
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter("json"))
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        found += [json.loads(line) for line in stream.getvalue().splitlines()]
