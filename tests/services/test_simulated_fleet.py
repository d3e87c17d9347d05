"""`joinder simulate --fleet`: virtual homes that are read, in a store of their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from joinder import virtual
from joinder.demo import fleet
from joinder.runtime.hub import Hub
from joinder.services.admin import enrollment_stats
from joinder.services.refusals import Conflict
from joinder.vendors.registry import Registry
from joinder.virtual import simulation
from joinder.virtual.simulation import Shape
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


def test_a_homes_registers_are_drawn_once_a_day_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go back to the day it began, and each read asks for them."""
    drawn: list[date] = []
    draw: Callable[..., int] = simulation._day_wh

    def counted(shape: Shape, day: date) -> int:
        drawn.append(day)
        return draw(shape, day)

    monkeypatch.setattr(simulation, "_day_wh", counted)
    shape = Shape.of(virtual.owners_home("registers"))
    since, morning = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 6, 1, 9, tzinfo=UTC)
    first = simulation.lifetime_wh(shape, since, morning)
    whole = len(drawn)
    later = simulation.lifetime_wh(shape, since, morning.replace(hour=12))
    assert len(drawn) == whole
    days = [since.date() + timedelta(days=number) for number in range((morning.date() - since.date()).days + 1)]
    rows = [row for day in days for row in simulation.quarters(shape, day)]
    ended = [row.solar for row in rows if since.timestamp() <= row.start <= morning.timestamp() - 900]
    assert first == sum(ended)
    assert later > first
