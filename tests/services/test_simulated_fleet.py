"""`joinder simulate --fleet`: virtual homes that are read, in a store of their own."""

from __future__ import annotations

import pytest

from joinder import virtual
from joinder.demo import fleet
from joinder.runtime.hub import Hub
from joinder.services.admin import enrollment_stats
from joinder.services.refusals import Conflict
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

HOMES = 3


@pytest.fixture
def registry(vendor: StrictVendor) -> Registry:
    made = Registry()
    for name, one in ((vendor.name, vendor), (virtual.NAME, virtual)):
        assert made.add(name, one).problem is None
    return made


async def test_each_home_is_made_and_read_with_the_day_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "TELL_EVERY", 2)
    said: list[str] = []
    seen = await fleet.run(hub, HOMES, said.append)
    ((rows, subjects),) = await hub.store.rows(
        "SELECT count(*), count(DISTINCT subject_id) FROM interval WHERE resolution = '15mins' "
        "AND subject_id IN (SELECT id FROM site)",
        {},
    )
    assert subjects == HOMES
    assert rows >= HOMES * 90
    assert [(one.vendor, one.health, one.count) for one in await enrollment_stats.counts(hub)] == [
        (virtual.NAME, "ok", HOMES)
    ]
    assert said == ["2 of 3 homes read"] * 2
    assert seen.homes == HOMES
    assert min(seen.first.cpu_s, seen.again.cpu_s) > 0
    assert seen.cores(900) == pytest.approx(seen.again.cpu_s / HOMES)


async def test_a_store_that_reads_homes_of_others_takes_none(hub: Hub, enroll: Enroll) -> None:
    await enroll("ada")
    with pytest.raises(Conflict, match="a store of its own"):
        await fleet.run(hub, HOMES, lambda _: None)
    assert len(await hub.store.rows("SELECT id FROM account", {})) == 1
