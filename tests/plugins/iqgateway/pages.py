"""Hand-written answers of a box, read by the plugin without a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from msgspec.structs import replace

from joinder import Counter, Readings
from joinder.http import Answer
from joinder_iq_gateway.api import Gateway, take_snapshot
from joinder_iq_gateway.mapping import readings

NOW = datetime(2026, 6, 25, 19, tzinfo=UTC)
AT = int(NOW.timestamp())
PRODUCTION, NET, TOTAL, STORAGE = 704643328, 704643584, 704643600, 704643840
PV3P = 704645120
NAMES = {PRODUCTION: "production", NET: "net-consumption", TOTAL: "total-consumption", STORAGE: "storage", PV3P: "pv3p"}


class Pages:
    """Stands in for DeviceHttp: answers from memory, 404 for the rest."""

    origin = "https://box"

    def __init__(self, pages: dict[str, object]) -> None:
        self.pages = {"/auth/check_jwt": b"ok", "/info": info()} | pages
        self.asked: list[str] = []

    async def request(self, method: str, url: str, **_: object) -> Answer:
        path = url.removeprefix(self.origin)
        self.asked.append(path)
        page = self.pages.get(path)
        if page is None:
            return Answer(404, {}, b'{ "error" : "404 - Not Found" }', f"{method} box{path}")
        body = page if isinstance(page, bytes) else json.dumps(page).encode()
        return Answer(200, {}, body, f"{method} box{path}")


def info(software: str = "D8.3.5167") -> bytes:
    return f"<envoy_info><device><sn>1</sn><software>{software}</software></device></envoy_info>".encode()


def meter(eid: int, *, state: str = "enabled", phases: int = 1, flags: tuple[str, ...] = ()) -> dict[str, object]:
    kind = NAMES.get(eid, "evse")
    return {"eid": eid, "state": state, "measurementType": kind, "phaseCount": phases, "statusFlags": list(flags)}


def ct(eid: int, power_w: float, delivered: float, received: float, channels: object = ()) -> dict[str, object]:
    values = {"timestamp": AT, "activePower": power_w, "actEnergyDlvd": delivered, "actEnergyRcvd": received}
    return {"eid": eid, **values, "channels": list(channels)}  # type: ignore[call-overload]


def cts(*entries: dict[str, object]) -> dict[str, object]:
    return {"/ivp/meters": [meter(entry["eid"]) for entry in entries], "/ivp/meters/readings": list(entries)}  # type: ignore[arg-type]


async def read(pages: dict[str, object], firmware: str = "8.3.5167") -> tuple[Readings, list[str]]:
    box = Pages(pages)
    gateway = Gateway(box, "t", expires_at=None, now=NOW)  # type: ignore[arg-type]
    snapshot = await take_snapshot(gateway, firmware=firmware, now=NOW, timezone=None)
    return readings(snapshot, now=NOW, firmware=firmware, live=True), box.asked


def site(found: Readings) -> Counter:
    """Without its source: see `source_of`."""
    whole = next((counter for counter in found.counters if counter.device_id is None), Counter(at=NOW))
    return replace(whole, source=None)


def source_of(found: Readings) -> str | None:
    return next(counter.source for counter in found.counters if counter.device_id is None)


def powers(found: Readings) -> tuple[float | None, ...]:
    live = found.live
    return (live.solar_w, live.battery_w, live.grid_w, live.load_w) if live else (None, None, None, None)
