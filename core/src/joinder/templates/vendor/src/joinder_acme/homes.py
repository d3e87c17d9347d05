"""What really happens at Acme's simulated homes, and how Acme tells of it.

Three homes, each with two inverters; the list comes in pages of one. The first charges a car. Of the second Acme keeps
no row from 13:15 to 13:30, and its second inverter is silent from 10 to 11 o'clock, local time. The third has neither
battery nor meter, and Acme leaves out what they would tell. What is made up about Acme is only here: give yours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joinder.energy import DeviceKind, MeterRole
from joinder.series import day_span, days_between, outwards
from joinder.simulate.home import Home
from joinder.simulate.truth import TrueDevice, TrueSite

PAGE_SIZE = 1
LONGEST = {"15mins": timedelta(days=8), "day": timedelta(days=32)}  # that one call may ask for, a row more on each side
SHARES = (0.6, 0.4)  # of the sun, by inverter
Body = dict[str, Any]


@dataclass(frozen=True)
class SimulatedSite:
    """`has_gaps`: one quarter hour a day without a row, and an hour in which the second inverter is silent.

    `is_solar_only`: neither battery nor meter.
    """

    number: int
    home: Home
    has_gaps: bool = False
    is_solar_only: bool = False

    @property
    def id(self) -> str:
        return f"site-{self.number}"

    def is_missing(self, start: float) -> bool:
        local = datetime.fromtimestamp(start, self.home.zone)
        return self.has_gaps and (local.hour, local.minute) == (13, 15)

    def is_silent(self, start: float) -> bool:
        return self.has_gaps and datetime.fromtimestamp(start, self.home.zone).hour == 10

    @property
    def truth(self) -> TrueSite:
        """Returns what the checks compare with: made of the home, never of the answers below."""
        first = TrueDevice(kind=DeviceKind.INVERTER, serial=f"INV-{self.number}1", share=SHARES[0])
        second = TrueDevice(
            kind=DeviceKind.INVERTER, serial=f"INV-{self.number}2", share=SHARES[1], silent=self.is_silent
        )
        battery = TrueDevice(kind=DeviceKind.BATTERY, serial=f"BAT-{self.number}", nameplate_wh=self.home.battery_wh)
        meter = TrueDevice(kind=DeviceKind.METER, serial=f"MTR-{self.number}", role=MeterRole.GRID)
        charger = TrueDevice(kind=DeviceKind.CHARGER, serial=f"CAR-{self.number}")
        rest = () if self.is_solar_only else (battery, meter, charger) if self.home.charger_w else (battery, meter)
        return TrueSite(home=self.home, devices=(first, second, *rest), missing=self.is_missing)


FIRST = SimulatedSite(1, Home(seed=7, timezone="Europe/Berlin", charger_w=3700))
SECOND = SimulatedSite(2, Home(seed=8, timezone="America/New_York", battery_wh=13500), has_gaps=True)
THIRD = SimulatedSite(3, Home(seed=9, timezone="Europe/Berlin", battery_wh=0), is_solar_only=True)
SITES = (FIRST, SECOND, THIRD)


def page(ids: list[str], number: int) -> Body:
    shown = ids[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return {"sites": [{"id": site_id} for site_id in shown], "pages": -(-len(ids) // PAGE_SIZE)}


def answer(site: SimulatedSite, rest: str, query: Any, now: datetime) -> Body | None:
    """None: there is no such thing, or more is asked for than one call may."""
    if rest == "":
        return _details(site)
    if rest == "power":
        return _power(site, now)
    if not _is_allowed(query):
        return None
    if rest == "energy":
        return {"rows": [_row(site, *span) for span in _spans(site, query, now)]}
    serial = rest.removeprefix("devices/").removesuffix("/energy")
    device = next((one for one in site.truth.devices if one.serial == serial), None)
    return {"rows": _device_rows(site, device, query, now)} if device else None


def _details(site: SimulatedSite) -> Body:
    devices = [
        {"serial": device.serial, "kind": str(device.kind), "capacity_wh": device.nameplate_wh}
        for device in site.truth.devices
    ]
    return {"id": site.id, "name": f"Acme home {site.number}", "timezone": site.home.timezone, "devices": devices}


def _is_allowed(query: Any) -> bool:
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    return end - start <= LONGEST[query["step"]]


def _spans(site: SimulatedSite, query: Any, now: datetime) -> list[tuple[datetime, datetime]]:
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    if query["step"] == "day":
        spans = [day_span(day, site.home.zone) for day in days_between(start, end, site.home.zone)]
    else:
        quarter = timedelta(minutes=15)  # Acme's own rows, wherever the span begins
        first, last = outwards(start, end, quarter)
        spans = [
            (first + quarter * step, first + quarter * (step + 1)) for step in range(int((last - first) / quarter))
        ]
        spans = [span for span in spans if span[0] >= start and not site.is_missing(span[0].timestamp())]
    return [span for span in spans if span[1] <= now]


def _row(site: SimulatedSite, start: datetime, end: datetime) -> Body:
    """Returns a row; while an inverter is silent its part is missing, and the row says so."""
    energy = site.home.energy(start.timestamp(), end.timestamp())
    is_short = site.is_silent(start.timestamp()) and end - start < timedelta(hours=1)
    row = {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "solar": energy.solar_wh * (SHARES[0] if is_short else 1.0),
        "silent": [f"INV-{site.number}2"] if is_short else [],
    }
    if site.is_solar_only:
        return row
    if site.home.charger_w:
        row["car"] = energy.charger_wh
    return row | {
        "charged": energy.charge_wh,
        "discharged": energy.discharge_wh,
        "imported": energy.import_wh,
        "exported": energy.export_wh,
        "soc": energy.soc_percent,
    }


def _device_rows(site: SimulatedSite, device: TrueDevice, query: Any, now: datetime) -> list[Body]:
    """Returns rows with the members the device has; none while it is silent."""
    wire = {"solar_wh": "solar", "charge_wh": "charged", "discharge_wh": "discharged", "soc_percent": "soc"}
    wire |= {"import_wh": "imported", "export_wh": "exported", "charger_wh": "car"}
    rows = []
    for start, end in _spans(site, query, now):
        if not device.silent(start.timestamp()):
            told = device.energy(site.home.energy(start.timestamp(), end.timestamp()))
            members = {wire[metric]: value for metric, value in told.items()}
            rows.append({"start": start.isoformat(), "end": end.isoformat(), **members})
    return rows


def _power(site: SimulatedSite, now: datetime) -> Body:
    power = site.home.power(now.timestamp())
    told = {"at": now.astimezone(UTC).isoformat(), "solar": power.solar_w}
    if site.is_solar_only:
        return told
    return told | {"battery": -power.battery_w, "grid": -power.grid_w, "soc": power.soc_percent}
