"""What every test has: empty databases, and no way off this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from databases import databases, fresh_database, pytest_generate_tests
from loopback import staying

__all__ = ["databases", "fresh_database", "loopback_only", "pytest_generate_tests"]


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    with staying():
        yield
