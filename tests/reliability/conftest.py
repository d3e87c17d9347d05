from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from joinder.demo.postgres import LocalPostgres, NoPostgres, local_postgres
from services.conftest import account_id, credentials_id, enroll, hub, registry, settings, vendor

__all__ = ["account_id", "credentials_id", "enroll", "hub", "registry", "settings", "vendor"]
QUICK = (
    "test_r07_classification.py",
    "test_r13_clocks.py",
    "test_faults.py",
    "test_r16_matrix.py",
)  # or say it themselves


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is here proves what no short test can, and takes its time."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in QUICK:
            item.add_marker(pytest.mark.proof)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    """One of our own: the others' must not be stopped."""
    try:
        with local_postgres(durable=False) as started:
            yield started
    except NoPostgres as error:
        pytest.skip(str(error))
