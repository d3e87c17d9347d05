"""What a home answers does not depend on who read what before: every order of reads ends in the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations

import pytest

from cases.homes import DAY_S, STYLES, Home, Silence, home_of
from cases.life import LEVELS, Life, Stage, Tally, Time, enrolled
from effort import late
from joinder.energy import Device, DeviceKind
from joinder.errors import VendorError
from joinder.services.readings.intervals import Page
from joinder.settings import Settings

DATABASES = ("sqlite",)
READS = ("site solar", "site battery", "inverter", "battery", "live", "poll")
ALL = tuple(permutations(READS))
NOON_S = 12 * 3600
DEVICES = (
    Device(vendor_id="inv-1", kind=DeviceKind.INVERTER),
    Device(vendor_id="inv-2", kind=DeviceKind.INVERTER),
    Device(vendor_id="bat-1", kind=DeviceKind.BATTERY),
    Device(vendor_id="bat-2", kind=DeviceKind.BATTERY),
    Device(vendor_id="met-1", kind=DeviceKind.METER),
)


def wounded(style: str, number: int) -> Home:
    """One inverter and one battery fall silent, and a spike of the other inverter has no nameplate to judge it."""
    home = home_of(f"{style}-{number}", seed=5, style=style, devices=DEVICES, days=4)
    noon = home.start + DAY_S + NOON_S
    home.is_careful = True
    home.silences = [
        Silence("inv-2", noon + 5400, noon + 4 * 3600),
        Silence("bat-2", noon - 7200, noon + 300),
        Silence("inv-1", noon + DAY_S, noon + DAY_S + 1800, healed_at=noon + 2 * DAY_S),
    ]
    home.spikes = {(None if style in ("site", "rows") else "inv-1", noon): 400.0}
    return home


@pytest.mark.timeout(900)
@pytest.mark.parametrize("has_days", [False, late(True)])
@pytest.mark.parametrize("style", STYLES)
async def test_some_orders_of_reads_answer_the_same(
    fresh_database: Settings, monkeypatch: pytest.MonkeyPatch, style: str, has_days: bool
) -> None:
    """Each read is once the first and once the last, and the orders between them differ."""
    await _all_the_same(fresh_database, monkeypatch, style, has_days, ALL[:: len(ALL) // 7])


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("has_days", [False, True])
@pytest.mark.parametrize("style", STYLES)
async def test_every_order_of_reads_answers_the_same(
    fresh_database: Settings, monkeypatch: pytest.MonkeyPatch, style: str, has_days: bool
) -> None:
    await _all_the_same(fresh_database, monkeypatch, style, has_days, ALL)


async def _all_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, style: str, has_days: bool, orders: Sequence[tuple[str, ...]]
) -> None:
    time, tally, stage = Time(), Tally(), Stage(settings)
    monkeypatch.setattr("joinder.clock.civil_time", time)
    found: dict[str, tuple[str, ...]] = {}
    async with stage.open() as hub:
        for number, order in enumerate(orders):
            home = wounded(style, number)
            home.has_days = has_days
            time.now = home.start + 7200
            life = await enrolled(stage, hub, home, time, tally)
            await _read(life, order)
            found.setdefault(await _answers(life), order)
    assert not tally.wrong, "\n".join(tally.wrong[:20])
    assert len(found) == 1, _difference(found)
    print(f"\n{style}: {len(orders)} orders, {tally.values} values checked, {len(found)} answer")


async def _read(life: Life, order: Sequence[str]) -> None:
    """A box is polled before, as it has no history; then all within one moment."""
    home, time = life.home, life.time
    noon = home.start + DAY_S + NOON_S
    if home.style == "registers":
        for time.now in range(noon - 3600, noon + 2 * 3600, 900):
            await life.poll()
    time.now = noon + DAY_S + 3600
    for read in order:
        with suppress(VendorError):
            await _one(life, read, noon)


async def _one(life: Life, read: str, noon: int) -> None:
    if read == "live":
        await life.live()
    elif read == "poll":
        await life.poll()
    elif read == "inverter":  # just the quarter hour of the spike
        await life.read(DeviceKind.INVERTER, "15mins", noon, noon + 900, "inv-1")
    elif read == "battery":
        await life.read(DeviceKind.BATTERY, "hour", noon - 4 * 3600, noon + 4 * 3600, "bat-2")
    elif read == "site solar":
        await life.read(DeviceKind.INVERTER, "15mins", noon, noon + 900)
    else:
        await life.read(DeviceKind.BATTERY, "day", life.home.start, noon)


async def _answers(life: Life) -> str:
    """Everything, at the same moment, as text that can be compared."""
    home = life.home
    lines = []
    for level in LEVELS:
        for kind in DeviceKind:
            for device in (None, *(device.vendor_id for device in home.of_kind(kind))):
                page = await life.read(kind, level, home.start, home.end, device)
                lines += [f"{level} {device or 'site'} {kind} {line}" for line in _lines(page)]
    return "\n".join(lines)


def _lines(page: Page) -> list[str]:
    totals = [f"{one.start} {one.end} {one.quality} {_rounded(one.values)}" for one in page.totals]
    return [*totals, *(str(one) for one in page.missing), f"complete: {page.is_complete}"]


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in values.items()}


def _difference(found: dict[str, tuple[str, ...]]) -> str:
    (first, one), (second, other) = list(found.items())[:2]
    a, b = first.split("\n"), second.split("\n")
    only = [f"- {line}" for line in a if line not in b][:15] + [f"+ {line}" for line in b if line not in a][:15]
    return "\n".join([f"{len(found)} different answers", f"- {one}", f"+ {other}", *only])
