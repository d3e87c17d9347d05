"""The kit's pytest plugin (entry point pytest11): turns a VendorConformance class into one test for each check."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The checks that apply by the vendor's description; all of them when it cannot be read."""
    if "conformance_check" not in metafunc.fixturenames:
        return
    from joinder.testing.checks import all_checks
    from joinder.testing.subject import Failed, Subject

    entries = all_checks()
    vendor_name = getattr(metafunc.cls, "vendor", None)
    if not isinstance(vendor_name, str):
        raise pytest.UsageError(f'{metafunc.cls} must say which vendor it tests: vendor = "…"')
    try:
        vendor = Subject.installed(vendor_name).vendor()
    except (Failed, LookupError):
        pass
    else:
        entries = tuple(entry for entry in entries if entry.applies(vendor))
    metafunc.parametrize("conformance_check", entries, ids=lambda entry: entry.name)
