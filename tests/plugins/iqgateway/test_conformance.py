import pytest

from joinder.testing.conformance import VendorConformance
from joinder_iq_gateway import join


@pytest.fixture(autouse=True)
def _quick_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused address waits seconds, so that it tells nothing by its time; test_join.py sees to that.

    Here it does not wait, however long a busy machine may take for the proof.
    """
    not_there = join._not_there
    monkeypatch.setattr(join, "PROOF_S", 100.0)
    monkeypatch.setattr(join, "_not_there", lambda ctx, reason, started: not_there(ctx, reason, started - 100.0))


class TestConformance(VendorConformance):
    vendor = "iqgateway"
