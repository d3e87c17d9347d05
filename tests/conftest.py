"""What every test has: empty databases, and no way off this machine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiled import compiled_once
from databases import databases, fresh_database, pytest_generate_tests
from loopback import staying
from patient_calls import patient_calls
from scratch import in_memory

__all__ = ["compiled_once", "databases", "fresh_database", "loopback_only", "patient_calls", "pytest_generate_tests"]

HERE = Path(__file__).parent

# They start whole processes, a second of computing each: `make whole`, and so `make check`.
WHOLE = (
    "e2e/",
    "packaging/",
    "clients/",
    "cli/test_commands.py",
    "cli/test_config.py",
    "core/test_migrate.py",
    "deploy/test_upkeep.py",
    "testing/test_template.py",
    "reliability/test_r16_matrix.py",
)


def pytest_configure() -> None:
    in_memory()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).as_posix().startswith(WHOLE):
            item.add_marker(pytest.mark.whole)


def pytest_collection_finish() -> None:
    """Tells the garbage collector not to look again and again at what all tests share: modules, classes, the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    with staying():
        yield
