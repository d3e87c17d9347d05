import pytest

from joinder.testing.conformance import VendorConformance
from joinder_iq_gateway import join


@pytest.fixture(autouse=True)
def _quick_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused address waits seconds, so that it tells nothing by its time; test_join.py sees to that."""
    monkeypatch.setattr(join, "PROOF_S", 0.2)


class TestConformance(VendorConformance):
    vendor = "iqgateway"
