"""What every test has: empty databases, and no way off this machine."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiled import compiled_once
from databases import databases, fresh_database, pytest_generate_tests
from effort import EVERYTHING
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
    "cli/test_bad_input.py",
    "cli/test_commands.py",
    "cli/test_config.py",
    "cli/test_store_trouble.py",
    "core/test_migrate.py",
    "deploy/test_upkeep.py",
    "testing/test_template.py",
    "reliability/test_r16_matrix.py",
)
# They ask alike of many things, for many seconds of computing: each third by day, the others by `make whole` too.
LONG = (
    "cases/grants/",
    "cases/test_hostile_answers.py",
    "cases/test_order_of_reads.py",
    "cases/test_random_homes.py",
    "cli/test_admin.py",
    "cli/test_audited.py",
    "cli/test_hostile_names.py",
    "cli/test_json.py",
    "cli/test_keys.py",
    "cli/test_vendor_commands.py",
    "core/test_plugins.py",
    "api/test_strangers.py",
    "plugins/enphase/test_readings_of_both.py",
    "plugins/smasbox/test_conformance.py",  # the code is that of sma
    "services/test_budgets.py",
    "services/test_data_keys.py",
    "services/test_peppers.py",
    "services/test_recovery.py",
    "testing/test_kit.py",
)


def pytest_configure() -> None:
    in_memory()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    counts: Counter[Path] = Counter()
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        file = item.path.relative_to(HERE).as_posix()
        is_third = counts[item.path] % 3 == 0
        counts[item.path] += 1
        if file.startswith(WHOLE) or (file.startswith(LONG) and not is_third and not EVERYTHING):
            item.add_marker(pytest.mark.whole)


def pytest_collection_finish() -> None:
    """Tells the garbage collector not to look again and again at what all tests share: modules, classes, the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    with staying():
        yield
