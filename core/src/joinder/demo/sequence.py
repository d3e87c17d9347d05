"""The demo's steps. Nothing here reaches into the server: it is a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct, field, structs

from joinder.demo.client import Api, Say
from joinder.demo.owner import OwnerStuck, consent
from joinder.demo.processes import StepFailed
from joinder.demo.stack import Running
from joinder.errors import VendorError
from joinder.runtime.hub import Hub
from joinder.services.readings import poll
from joinder.simulate import Simulator

REDIRECT_URI = "https://integrator.example/connected"
QUARTER_S, DAY_S = 900, 86400
SELDOM_S = 2 * 3600  # between polls of the days before the last one: the farthest of which quarter hours are made
APPROVAL_MOST_S = 60
BALANCE, NOISE_KW = 0.01, 0.1


class Connected(Struct, rename="camel"):
    """What the demo saw of one vendor."""

    vendor: str
    enrollment_id: str = field(name="enrollmentID")
    was_pending: bool
    health: str
    site_id: str = field(name="siteID")
    site_name: str
    solar_inverters: int
    batteries: int
    meters: int
    quarter_hours: int
    missing: int  # spans of the day of which it is told why nothing is known
    day_kwh: float
    today_kwh: float
    live: dict[str, Any]
    curve: list[float] = []


async def connect(demo: Running, simulator: Simulator, say: Say, *, days: int = 1, via: str | None = None) -> Connected:
    """Takes one vendor from credentials to live power.

    `days`: how many a device without history lived. `via`: where the owner begins, if not at the public server.
    """
    end = day_end()  # of the day that is read, though another quarter hour may end meanwhile
    if not simulator.has_history:
        simulator.clock.freeze(end - days * DAY_S)
    found = await enrollment(demo.api, simulator, say, via or demo.url)
    pending = found["status"] == "pendingvendor"
    if pending:
        await _approved(demo.api, simulator.vendor, found["id"], say)
    site_id = found["sites"][0]["id"]
    if not simulator.has_history:
        await _time_lapse(demo.hub, simulator, found["id"], (end - days * DAY_S, end), say)
    seen = await _read(demo.api, simulator.vendor, found["id"], site_id, end)
    return structs.replace(seen, was_pending=pending)


async def enrollment(api: Api, simulator: Simulator, say: Say, server: str) -> dict[str, Any]:
    """Goes from credentials to the owner's consent, which begins at `server`, and returns the enrollment.

    Raises StepFailed.
    """
    flow_id = await offered(api, simulator)
    enrollment_id = await _consented(simulator, f"{server}/join/flows/{flow_id}/authorize", say)
    found: dict[str, Any] = await api.call("GET", f"/enrollments/{enrollment_id}")
    return found


async def offered(api: Api, simulator: Simulator) -> str:
    """Makes the flow by which owners of one vendor join, with its app, and returns its id. Raises StepFailed."""
    vendor = simulator.vendor
    entry: dict[str, Any] = {"vendor": vendor}
    if simulator.flow_options:
        entry["options"] = dict(simulator.flow_options)
    if simulator.app_credentials:
        body = {"name": f"my-{vendor}-app", "credentials": dict(simulator.app_credentials)}
        entry["credentialsID"] = (await api.call("POST", "/vendor-credentials", body=body))["id"]
    flow = await api.call("POST", "/join/flows", body={"vendors": [entry], "redirectURI": REDIRECT_URI})
    return str(flow["id"])


async def _consented(simulator: Simulator, link: str, say: Say) -> str:
    """Plays the owner's part and returns the enrollment's id. Raises StepFailed."""
    step = f"{simulator.vendor}: owner's consent"
    state = secrets.token_urlsafe(12)
    link = f"{link}?vendor={simulator.vendor}&state={state}"
    say(f"The owner opens {link}")
    try:
        landed = await consent(link, until=REDIRECT_URI, entries={**simulator.owner_form, **simulator.owner_choice})
    except OwnerStuck as error:
        raise StepFailed(step, str(error)) from None
    result = {name: values[0] for name, values in parse_qs(urlsplit(landed).query).items()}
    if result.get("state") != state or "enrollmentID" not in result:
        raise StepFailed(step, json.dumps(result))
    say(f"… consents, and lands on {landed}")
    return result["enrollmentID"]


async def _approved(api: Api, vendor: str, enrollment_id: str, say: Say) -> None:
    """Waits for a vendor that decides later: asks every second, where the worker would within minutes to hours."""
    say(f"{vendor} has not approved the enrollment yet: status pendingvendor")
    for _ in range(APPROVAL_MOST_S):
        enrollment = await api.call("POST", f"/enrollments/{enrollment_id}/refresh", quietly=True)
        if enrollment["status"] == "enrolled":
            say(f"{vendor} approves: status enrolled")
            return
        await asyncio.sleep(1)
    raise StepFailed(f"{vendor}: approval", f"still {enrollment['status']} after {APPROVAL_MOST_S} s")


async def _time_lapse(hub: Hub, simulator: Simulator, enrollment_id: str, span: tuple[int, int], say: Say) -> None:
    """Runs a device's clock fast while Joinder polls it. Raises StepFailed.

    A device without history has a day only if somebody read it all day.
    """
    start, end = span
    say(
        f"{simulator.vendor} keeps no history: its simulated clock runs {(end - start) // 3600} h while Joinder polls, "
        "every 15 minutes of the last day"
    )
    for at in (*range(start, end - DAY_S, SELDOM_S), *range(end - DAY_S, end + QUARTER_S, QUARTER_S)):
        simulator.clock.freeze(at)
        try:
            await _poll(hub, enrollment_id)
        except VendorError as error:
            raise StepFailed(f"{simulator.vendor}: polling a day", str(error)) from None
        left_s = end - at
        if left_s % (4 * 3600 if left_s <= DAY_S else DAY_S) == 0:
            say(f"  {(at - start) // 3600:2d} of {(end - start) // 3600} h")
    simulator.clock.shift(0)


async def _poll(hub: Hub, enrollment_id: str) -> None:
    """Waits while the server's own worker reads it."""
    for _ in range(200):
        if await poll.poll(hub, enrollment_id):
            return
        await asyncio.sleep(0.05)


async def _read(api: Api, vendor: str, enrollment_id: str, site_id: str, end: int) -> Connected:
    site = await api.call("GET", f"/sites/{site_id}")
    span = f"start={iso(end - DAY_S)}&end={iso(end)}&summaryLevel=15mins&pageSize=200"
    told = await api.call("GET", f"/sites/{site_id}/solar-intervals?{span}")
    day = told["intervals"]
    midnight = f"start={iso(end - QUARTER_S)}&end={iso(end)}&summaryLevel=day"
    today = (await api.call("GET", f"/sites/{site_id}/solar-intervals?{midnight}"))["intervals"]
    live = await api.call("GET", f"/sites/{site_id}/live")
    enrollment = await api.call("GET", f"/enrollments/{enrollment_id}")
    return Connected(
        vendor=vendor,
        enrollment_id=enrollment_id,
        was_pending=False,
        health=enrollment["health"]["state"],
        site_id=site_id,
        site_name=site["name"],
        solar_inverters=len(site["solarInverters"]),
        batteries=len(site["batteries"]),
        meters=len(site["meters"]),
        quarter_hours=len(day),
        missing=len(told.get("missing", [])),
        day_kwh=round(sum(row["kwh"] for row in day), 3),
        today_kwh=round(sum(row["kwh"] for row in today), 3),
        live=live,
        curve=[row["kwh"] for row in day],
    )


def check(seen: Connected) -> None:
    """Checks what the demo promises of every vendor. Raises StepFailed."""
    wrong = [
        name
        for name, holds in {
            "health ok": seen.health == "ok",
            "inverters": seen.solar_inverters > 0,
            "96 quarter hours, or why not": seen.quarter_hours == 96 or seen.missing > 0,
            "energy": seen.day_kwh > 0 or not seen.curve,
            "live power": "solarKw" in seen.live and not seen.live["stale"],
            "load = solar + battery + grid": _balances(seen.live),
        }.items()
        if not holds
    ]
    if wrong:
        raise StepFailed(f"{seen.vendor}: {', '.join(wrong)}", json.dumps(structs.asdict(seen), default=str))


def _balances(live: Mapping[str, Any]) -> bool:
    """Tells whether the load is the sum of the others within 1 %, where all four are told."""
    parts = [live.get(name) for name in ("solarKw", "batteryKw", "gridKw", "loadKw")]
    if any(part is None for part in parts):
        return True
    solar, battery, grid, load = (float(part or 0) for part in parts)
    return abs(load - solar - battery - grid) <= BALANCE * max(abs(load), solar, NOISE_KW)


def day_end() -> int:
    """Returns the last full quarter hour's end, in epoch seconds."""
    return int(time.time()) // QUARTER_S * QUARTER_S


def iso(at: int) -> str:
    """Formats epoch seconds as the API takes them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
