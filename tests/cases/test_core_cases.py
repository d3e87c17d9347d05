"""What core makes of vendors that tell too little, too much or the wrong thing: a test for each kind, by REST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec import structs

from api.conftest import anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant, vendors
from api.fakes import HOME, Vendors, connect, connect_site
from joinder.energy import Counter, Device, DeviceKind, MeterRole, Reading, Readings, ReadingsQuery
from joinder.errors import NotSupported
from joinder.runtime.hub import Hub
from joinder.series import Quarters
from joinder.services.readings import poll, sites

__all__ = ["anonymous", "api", "app", "apps", "browser", "hub", "new_browser", "new_tenant", "public_url", "tenant"]
__all__ += ["vendors"]
DATABASES = ("sqlite",)
QUARTER = timedelta(minutes=15)
pytestmark = pytest.mark.usefixtures("clock")
NOON = datetime(2026, 6, 1, 10, tzinfo=UTC)
NOW = NOON + timedelta(days=9)
FIRST, SECOND = (Device(vendor_id=f"inv-{n}", kind=DeviceKind.INVERTER) for n in (1, 2))
BATTERIES = tuple(Device(vendor_id=f"bat-{n}", kind=DeviceKind.BATTERY) for n in (1, 2))
HOURS = {"start": NOON.isoformat(), "end": (NOON + timedelta(hours=2)).isoformat()}


@dataclass
class Clock:
    at: datetime = NOW

    def __call__(self) -> float:
        return self.at.timestamp()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made)
    return made


def quarters(count: int = 8) -> list[datetime]:
    return [NOON + n * QUARTER for n in range(count)]


def row(start: datetime, wh: float | None, device_id: str | None = None, **members: Any) -> Reading:
    return Reading(start=start, end=start + QUARTER, solar_wh=wh, device_id=device_id, **members)


def inside(*rows: Reading) -> Callable[[ReadingsQuery], Readings]:
    """Those of quarter hours, to whatever is asked."""

    def answer(query: ReadingsQuery) -> Readings:
        is_asked = query.resolution == "15mins"
        return Readings(intervals=tuple(one for one in rows if is_asked and query.start <= one.start < query.end))

    return answer


async def solar(api: httpx.AsyncClient, path: str, level: str = "15mins", **query: str) -> dict[str, Any]:
    answer = await api.get(path, params={"summaryLevel": level, **HOURS, **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def told(body: dict[str, Any]) -> list[tuple[float, str]]:
    return [(round(one["kwh"], 6), one["quality"]) for one in body["intervals"]]


async def read_again(hub: Hub, site_id: str) -> None:
    """What the vendor says of the site by now."""
    ((account_id,),) = await hub.store.rows("SELECT account_id FROM site WHERE id = :id", {"id": site_id})
    site, _ = await sites.get_site(hub, account_id, site_id)
    await sites.refresh_site(hub, site)


async def devices_of(api: httpx.AsyncClient, path: str, member: str) -> list[str]:
    return [f"{path}/{entry['id']}/intervals" for entry in (await api.get(path)).json()[member]]


def rows_of_what_is_listed(vendors: Vendors, watt_hours: dict[str, float]) -> Callable[[ReadingsQuery], Readings]:
    """Of devices only, and of those alone that the vendor lists when it is asked."""

    def answer(query: ReadingsQuery) -> Readings:
        listed = [device.vendor_id for device in vendors.sunny.homes["site-1"].devices]
        wanted = [one for one in listed if query.device_id in (None, one)]
        return inside(*(row(start, watt_hours[one], one) for start in quarters() for one in wanted))(query)

    return answer


# --- one of two devices is silent


def one_falls_silent(query: ReadingsQuery) -> Readings:
    """Devices only; the second inverter and the second battery tell nothing after an hour."""
    rows = []
    for index, start in enumerate(quarters()):
        for number, device in ((1, FIRST), (2, SECOND)):
            if number == 1 or index < 4:
                rows.append(row(start, 100.0 * number, device.vendor_id))
        for number, battery in enumerate(BATTERIES, 1):
            if number == 1 or index < 4:
                values = {"charge_wh": 10.0 * number, "discharge_wh": 0.0}
                rows.append(row(start, None, battery.vendor_id, **values))
    asked = inside(*rows)(query).intervals
    return Readings(intervals=tuple(one for one in asked if query.device_id in (None, one.device_id)))


@pytest.fixture
def two_of_each(vendors: Vendors) -> Vendors:
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND, *BATTERIES))}
    vendors.sunny.readings = one_falls_silent
    return vendors


async def test_a_sum_that_lacks_a_device_is_partial(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, two_of_each: Vendors
) -> None:
    site = f"/sites/{await connect_site(api, browser)}"
    body = await solar(api, f"{site}/solar-intervals", provenance="true")
    assert told(body) == [(0.3, "measured")] * 4 + [(0.1, "partial")] * 4
    assert body["complete"] is False
    assert {one["provenance"]["rule"] for one in body["intervals"][4:]} == {"parts_missing"}
    hours = await solar(api, f"{site}/solar-intervals", "hour")
    assert told(hours) == [(1.2, "measured"), (0.4, "partial")]


async def test_a_sum_over_a_time_of_a_device_that_was_removed_since_is_partial(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    """The second inverter is on the roof no more, though the vendor still tells what it made."""
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST,))}
    former = (row(start, 200.0, SECOND.vendor_id) for start in quarters(4))
    vendors.sunny.readings = inside(*(row(start, 100.0, FIRST.vendor_id) for start in quarters()), *former)
    body = await solar(api, f"/sites/{await connect_site(api, browser)}/solar-intervals")
    assert told(body) == [(0.1, "partial")] * 4 + [(0.1, "measured")] * 4


async def test_a_sum_is_not_replaced_by_less_than_it_was_made_of(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub
) -> None:
    """Both inverters worked; then the vendor forgets the second one and its rows, and is asked for the time again."""
    clock.at = NOON + timedelta(hours=3)
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    answer = rows_of_what_is_listed(vendors, {FIRST.vendor_id: 100.0, SECOND.vendor_id: 200.0})
    asked: list[ReadingsQuery] = []
    vendors.sunny.readings = lambda query: (asked.append(query), answer(query))[1]
    site_id = await connect_site(api, browser)
    path = f"/sites/{site_id}/solar-intervals"
    assert told(await solar(api, path)) == [(0.3, "measured")] * 8
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST,))}
    for _ in range(2):
        clock.at += timedelta(hours=2)
        await read_again(hub, site_id)
        before = len(asked)
        assert told(await solar(api, path)) == [(0.3, "measured")] * 8
        assert any(query.start <= NOON < query.end for query in asked[before:])


async def test_a_device_under_another_name_changes_no_sum_and_one_that_came_in_its_place_adds_to_none(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub
) -> None:
    """The vendor renames the second inverter with its past; the sums are told anew, slightly corrected."""
    clock.at = NOON + timedelta(hours=3)
    renamed = structs.replace(SECOND, vendor_id="inv-9")
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    watt_hours = {FIRST.vendor_id: 100.0, SECOND.vendor_id: 200.0, renamed.vendor_id: 240.0}
    vendors.sunny.readings = rows_of_what_is_listed(vendors, watt_hours)
    site_id = await connect_site(api, browser)
    path = f"/sites/{site_id}/solar-intervals"
    assert told(await solar(api, path)) == [(0.3, "measured")] * 8
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, renamed))}
    for _ in range(2):
        clock.at += timedelta(hours=2)
        await read_again(hub, site_id)
        assert told(await solar(api, path)) == [(0.34, "measured")] * 8


async def test_what_a_removed_device_told_alone_is_missing_in_a_sum_that_is_told_without_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub
) -> None:
    """The device was read, the site not: nothing is stored that its sum could be compared with."""
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    answer = rows_of_what_is_listed(vendors, {FIRST.vendor_id: 100.0, SECOND.vendor_id: 200.0})
    vendors.sunny.readings = answer
    site_id = await connect_site(api, browser)
    paths = await devices_of(api, "/solar-inverters", "solarInverters")
    assert sorted([told(await solar(api, path))[0] for path in paths]) == [(0.1, "measured"), (0.2, "measured")]
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST,))}
    await read_again(hub, site_id)
    assert told(await solar(api, f"/sites/{site_id}/solar-intervals")) == [(0.1, "partial")] * 8


@pytest.mark.parametrize(("role", "told_by_both"), [(MeterRole.GRID, "import_wh"), (MeterRole.LOAD, "load_wh")])
async def test_a_meter_without_a_role_counts_nothing_that_another_one_measures(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, role: MeterRole, told_by_both: str
) -> None:
    """Both tell the same 100 Wh: who adds them up tells twice of what flowed."""
    meters = tuple(Device(vendor_id=f"met-{one}", kind=DeviceKind.METER, role=one) for one in (None, role))
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=meters)}
    rows = (row(start, None, meter.vendor_id, **{told_by_both: 100.0}) for start in quarters() for meter in meters)
    vendors.sunny.readings = inside(*rows)
    body = await solar(api, f"/sites/{await connect_site(api, browser)}/meter-intervals")
    name = {"import_wh": "importKwh", "load_wh": "consumptionKwh"}[told_by_both]
    assert {(one[name], one["quality"]) for one in body["intervals"]} == {(0.1, "measured")}


async def test_a_site_answers_the_same_whoever_read_its_devices_before(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, two_of_each: Vendors
) -> None:
    site = f"/sites/{await connect_site(api, browser)}"
    series = (f"{site}/battery-intervals", f"{site}/solar-intervals")
    before = [await solar(api, path) for path in series]
    for path in await devices_of(api, "/batteries", "batteries"):
        await solar(api, path)
    for path in await devices_of(api, "/solar-inverters", "solarInverters"):
        await solar(api, path)
    assert [await solar(api, path) for path in series] == before


async def test_a_site_without_rows_is_unknown_also_after_its_devices_were_read(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, two_of_each: Vendors
) -> None:
    """The vendor tells devices only when asked for one."""
    two_of_each.sunny.readings = lambda query: one_falls_silent(query) if query.device_id else Readings()
    site = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    before = await solar(api, site)
    (path, _) = await devices_of(api, "/solar-inverters", "solarInverters")
    assert (await solar(api, path))["intervals"]
    after = await solar(api, site)
    assert (before["intervals"], after["intervals"]) == ([], [])
    assert after["missing"] == before["missing"]


async def test_a_device_that_is_alone_by_now_is_not_what_the_site_made_when_it_was_not(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    """The vendor tells the site's rows and, where it is asked for one, a device's."""
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    vendors.sunny.readings = lambda query: inside(
        *(row(start, 100.0 if query.device_id else 200.0, query.device_id) for start in quarters())
    )(query)
    site_id = await connect_site(api, browser)
    assert {kwh for kwh, _ in told(await solar(api, f"/sites/{site_id}/solar-intervals"))} == {0.2}
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST,))}
    await read_again(hub, site_id)
    (path,) = await devices_of(api, "/solar-inverters", "solarInverters")
    assert told(await solar(api, path)) == [(0.1, "measured")] * 8


async def test_a_device_that_is_alone_by_now_is_told_whole_though_it_was_read_before(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    """Its own rows end where it was asked for last; what follows is in the site's."""
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    site_id = await connect_site(api, browser)
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST,))}
    clock.at = NOON - timedelta(hours=1)
    await read_again(hub, site_id)
    clock.at = NOON + timedelta(hours=1)
    vendors.sunny.readings = lambda query: inside(
        *(row(start, 100.0, query.device_id) for start in quarters() if start < clock.at)
    )(query)
    (path,) = await devices_of(api, "/solar-inverters", "solarInverters")
    before = {"start": (NOON - timedelta(hours=2)).isoformat()}
    assert len((await solar(api, path, **before))["intervals"]) == 4
    clock.at = NOON + timedelta(days=1)
    assert told(await solar(api, path)) == [(0.1, "measured")] * 8


# --- rows of something else than was asked for


@pytest.mark.parametrize("subject", [None, "inv-2", "somebody-else's"])
async def test_rows_of_another_subject_than_was_asked_for_overwrite_nothing(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, subject: str | None
) -> None:
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, SECOND))}
    own = [row(start, 100.0) for start in quarters()]
    vendors.sunny.readings = lambda query: (
        inside(*(row(start, 1000.0, subject) for start in quarters())) if query.device_id == "inv-1" else inside(*own)
    )(query)
    site = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    before = await solar(api, site)
    assert told(before) == [(0.1, "measured")] * 8
    for path in await devices_of(api, "/solar-inverters", "solarInverters"):
        assert (await solar(api, path))["intervals"] == []
    assert await solar(api, site) == before


# --- rows that are longer than a quarter hour


async def test_an_hour_is_not_four_measured_quarters(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    """A plugin that shares an hour out says so; one that answers the hour as a quarter's row is refused."""

    def shared_out(query: ReadingsQuery) -> Readings:
        found = Quarters(query.start, query.end)
        for hour in range(2):
            found.energy("solar_wh", NOON + timedelta(hours=hour), NOON + timedelta(hours=hour + 1), 800.0)
        return Readings(intervals=found.readings() if query.resolution == "15mins" else ())

    vendors.sunny.readings = shared_out
    site = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    body = await solar(api, site, provenance="true")
    assert told(body) == [(0.2, "estimated")] * 8
    assert {one["provenance"]["rule"] for one in body["intervals"]} == {"spread"}
    assert [kwh for kwh, _ in told(await solar(api, site, "hour"))] == [0.8, 0.8]


async def test_an_hours_row_among_quarter_hours_is_refused(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    hour = Reading(start=NOON, end=NOON + timedelta(hours=1), solar_wh=800.0)
    vendors.sunny.readings = inside(hour, *(row(start, 200.0) for start in quarters()[4:]))
    body = await solar(api, f"/sites/{await connect_site(api, browser)}/solar-intervals")
    assert told(body) == [(0.2, "measured")] * 4
    assert body["complete"] is False


# --- nothing is checked


IMPOSSIBLE: dict[str, Reading] = {
    "a negative import": row(NOON, None, import_wh=-500.0),
    "more than any site": row(NOON, 1e12),
    "a charge of 163 %": row(NOON, None, soc_percent=163.0),
    "no number": row(NOON, float("nan")),
    "no start on a quarter hour": row(NOON + timedelta(minutes=5), 5_000.0),
    "times without an offset": Reading(
        start=NOON.replace(tzinfo=None), end=(NOON + QUARTER).replace(tzinfo=None), solar_wh=9_000.0
    ),
    "the future": row(NOW + timedelta(days=2), 5.0),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
async def test_what_cannot_be_is_dropped_alone(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, kind: str
) -> None:
    rest = tuple(row(start, 100.0) for start in quarters()[1:])
    vendors.sunny.readings = lambda query: Readings(
        intervals=(IMPOSSIBLE[kind], *rest) if query.resolution == "15mins" else ()
    )
    site_id = await connect_site(api, browser)
    for name in ("solar", "battery", "meter"):
        answer = await api.get(f"/sites/{site_id}/{name}-intervals", params={"summaryLevel": "15mins", **HOURS})
        assert answer.status_code in (200, 404), answer.text
    body = await solar(api, f"/sites/{site_id}/solar-intervals")
    assert told(body) == [(0.1, "measured")] * 7
    assert body["complete"] is False
    assert body["missing"]


@pytest.mark.parametrize("refused", [{"export_wh": -5.0}, {"export_wh": 500.0, "load_wh": -400.0}])
@pytest.mark.parametrize("count", [1, 8])
async def test_what_was_refused_of_a_meter_is_missing_however_short_the_time_that_was_asked_for(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, refused: dict[str, float], count: int
) -> None:
    meter = Device(vendor_id="met-1", kind=DeviceKind.METER, role=MeterRole.GRID)
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(FIRST, meter))}
    sound = {"import_wh": 0.0, "export_wh": 50.0, "load_wh": 50.0}
    vendors.sunny.readings = inside(
        *(row(start, 100.0, **(sound | (refused if start == NOON else {}))) for start in quarters())
    )
    site = f"/sites/{await connect_site(api, browser)}/meter-intervals"
    body = await solar(api, site, end=(NOON + count * QUARTER).isoformat())
    assert len(body["intervals"]) == count
    assert [one["why"] for one in body["missing"]] == ["refused"]


@pytest.mark.parametrize("minutes", [15, 30, 120])
async def test_a_spike_is_one_however_short_the_time_that_was_asked_for(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, minutes: int
) -> None:
    """Nothing judges a lone row: what is around it is read with it."""
    vendors.sunny.readings = inside(*(row(start, 60_000.0 if start == NOON else 300.0) for start in quarters(40)))
    site = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    end = (NOON + timedelta(minutes=minutes)).isoformat()
    body = await solar(api, site, end=end)
    assert NOON.isoformat() not in [one["start"] for one in body["intervals"]]
    assert {kwh for kwh, _ in told(body)} <= {0.3}
    assert body["missing"][0]["why"] == "refused"


# --- not read yet looks like none


async def test_nothing_has_a_reason(api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors) -> None:
    vendors.sunny.readings = inside(*(row(start, 100.0) for start in quarters()))
    site = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    none = await solar(api, site, start="2026-06-02T10:00:00+00:00", end="2026-06-02T12:00:00+00:00")
    future = await solar(api, site, start="2027-06-02T10:00:00+00:00", end="2027-06-02T12:00:00+00:00")
    before = await solar(api, site, start="2019-06-02T10:00:00+00:00", end="2019-06-02T12:00:00+00:00")
    vendors.sunny.failures["fetch_readings"] = NotSupported("no longer")
    assert [one["intervals"] for one in (none, future, before)] == [[], [], []]
    assert [one["complete"] for one in (none, future, before)] == [False, False, False]
    whys = [{span["why"] for span in one["missing"]} for one in (none, future, before)]
    assert whys[1:] == [{"future"}, {"before_site"}]
    assert whys[0] <= {"not_read_yet", "vendor_has_none"}


# --- registers


def box_home(vendors: Vendors, *nameplates: float | None) -> None:
    inverters = tuple(
        Device(vendor_id=f"inv-{n}", kind=DeviceKind.INVERTER, max_power_w=size) for n, size in enumerate(nameplates)
    )
    vendors.sunny.vendor = structs.replace(
        vendors.sunny.vendor, limits=structs.replace(vendors.sunny.vendor.limits, history=())
    )
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=inverters)}


class TestRegisters:
    """A device without history, polled."""

    @pytest.fixture
    def vendors(self) -> Vendors:
        made = Vendors()
        box_home(made, 5_000.0)
        return made

    @pytest.mark.parametrize(
        ("step_s", "jump_wh"), [(6_700, 1_843_935.0), (60, 15_000.0), (900, 9_000.0), (900, 5e8), (7_000, 30_000.0)]
    )
    async def test_a_register_that_runs_further_than_the_site_can_is_unknown(
        self,
        hub: Hub,
        api: httpx.AsyncClient,
        browser: httpx.AsyncClient,
        vendors: Vendors,
        clock: Clock,
        step_s: int,
        jump_wh: float,
    ) -> None:
        """As public reports of gateways tell (pyenphase#471, home-assistant/core#118729)."""
        registers = [(0, 0.0), (900, 200.0), (900 + step_s, 200.0 + jump_wh), (1800 + step_s, 400.0 + jump_wh)]
        enrollment = (await api.get(f"/enrollments/{await connect(api, browser)}")).json()
        site_id = enrollment["sites"][0]["id"]
        for seconds, wh in registers:
            clock.at = NOON + timedelta(seconds=seconds)
            counter = Counter(at=clock.at, solar_wh=18_200_270.0 + wh)
            vendors.sunny.readings = lambda query, counter=counter: Readings(counters=(counter,))
            await poll.poll(hub, enrollment["id"])
        clock.at += timedelta(hours=1)
        body = await solar(api, f"/sites/{site_id}/solar-intervals", end=(NOON + timedelta(hours=4)).isoformat())
        assert told(body)[0] == (0.2, "measured")
        assert sum(kwh for kwh, _ in told(body)) == pytest.approx(0.4, abs=1e-6)
        assert body["complete"] is False
        rows = await hub.store.rows("SELECT rule FROM notice", {})
        assert ("register_jump",) in [tuple(one) for one in rows]

    @pytest.mark.parametrize(
        ("too_many", "expected"),
        [
            ({6: 900}, {0: "measured", 15: "partial", 30: "partial", 45: "measured"}),
            ({4: 400, 5: 900, 6: 900}, {0: "measured", 30: "partial", 45: "measured"}),
        ],
    )
    async def test_a_step_that_the_register_takes_back_is_no_longer_measured(
        self,
        hub: Hub,
        api: httpx.AsyncClient,
        browser: httpx.AsyncClient,
        vendors: Vendors,
        clock: Clock,
        too_many: dict[int, int],
        expected: dict[int, str],
    ) -> None:
        """Up to the edge of a quarter hour, as it is polled; the next sample takes it back."""
        box_home(vendors, None)
        enrollment = (await api.get(f"/enrollments/{await connect(api, browser)}")).json()
        path = f"/sites/{enrollment['sites'][0]['id']}/solar-intervals"
        for index in range(13):
            clock.at = NOON + timedelta(minutes=5 * index)
            counter = Counter(at=clock.at, solar_wh=1e6 + 50 * index + too_many.get(index, 0))
            vendors.sunny.readings = lambda query, counter=counter: Readings(counters=(counter,))
            await poll.poll(hub, enrollment["id"])
        clock.at += timedelta(hours=1)
        body = await solar(api, path)
        found = {one["start"]: one["quality"] for one in body["intervals"]}
        minutes = {(datetime.fromisoformat(at) - NOON) / timedelta(minutes=1): one for at, one in found.items()}
        assert minutes == expected
        whys = {datetime.fromisoformat(one["start"]): one["why"] for one in body["missing"]}
        assert whys.get(NOON + QUARTER) == (None if 15 in expected else "refused")
        assert {kwh for kwh, quality in told(body) if quality == "measured"} == {0.15}
