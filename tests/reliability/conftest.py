from __future__ import annotations

from pathlib import Path

import pytest

from services.conftest import account_id, credentials_id, enroll, hub, registry, settings, vendor

__all__ = ["account_id", "credentials_id", "enroll", "hub", "registry", "settings", "vendor"]
QUICK = ("test_r07_classification.py", "test_r13_clocks.py", "test_faults.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is here proves what no short test can, and takes its time."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in QUICK:
            item.add_marker(pytest.mark.proof)
