"""What the demo shows of a home where one inverter fell silent: that its sum is partial, which part, since when."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

from msgspec import Struct, field, structs

from joinder.demo import sequence
from joinder.demo.client import Api, Say
from joinder.demo.processes import StepFailed
from joinder.demo.stack import Running
from joinder.simulate import Simulator

LOOK_BACK_S = 6 * 3600


class SilentHome(Struct, rename="camel"):
    """What the API told of it. `measured` and `partial`: quarter hours of the last six hours."""

    vendor: str
    enrollment_id: str = field(name="enrollmentID")
    site_id: str = field(name="siteID")
    inverter_id: str = field(name="inverterID")
    inverter: str
    silent_since: str
    measured: int
    partial: int
    rules: list[str]
    warnings: list[dict[str, Any]]


async def show(demo: Running, simulator: Simulator, say: Say) -> SilentHome:
    """Shows a home where an inverter fell silent. Raises StepFailed."""
    owner = dataclasses.replace(simulator, owner_choice=simulator.silent_owner)
    enrollment = await sequence.enrollment(demo.api, owner, say, demo.url)
    seen = await _read(demo.api, simulator.vendor, enrollment["id"], enrollment["sites"][0]["id"])
    for command in (
        f"joinder enrollments show {seen.enrollment_id}",
        f"joinder sites intervals {seen.site_id} --level 15mins --provenance",
        f"joinder devices show {seen.inverter_id}",
        "joinder tui   # 2, enter, then right to the day",
    ):
        say(f". {shlex.quote(f'{demo.folder}/demo.env')}; {command}")
    return seen


async def _read(api: Api, vendor: str, enrollment_id: str, site_id: str) -> SilentHome:
    site = await api.call("GET", f"/sites/{site_id}")
    end = sequence.day_end()
    span = f"start={sequence.iso(end - LOOK_BACK_S)}&end={sequence.iso(end)}&summaryLevel=15mins&provenance=true"
    page = await api.call("GET", f"/sites/{site_id}/solar-intervals?{span}")
    devices = [await api.call("GET", f"/solar-inverters/{one['id']}") for one in site["solarInverters"]]
    silent = [device for device in devices if "silentSince" in device]
    warnings = (await api.call("GET", f"/enrollments/{enrollment_id}"))["warnings"]
    if len(silent) != 1:
        raise StepFailed(f"{vendor}: which inverter is silent", json.dumps({"devices": devices, "page": page}))
    by_quality = [row["quality"] for row in page["intervals"]]
    return SilentHome(
        vendor=vendor,
        enrollment_id=enrollment_id,
        site_id=site_id,
        inverter_id=silent[0]["id"],
        inverter=page["silentDevices"][0]["name"] if page.get("silentDevices") else "?",
        silent_since=silent[0]["silentSince"],
        measured=by_quality.count("measured"),
        partial=by_quality.count("partial"),
        rules=sorted({row["provenance"]["rule"] for row in page["intervals"] if row["quality"] == "partial"}),
        warnings=warnings,
    )


def check(seen: SilentHome) -> None:
    """Checks what the demo promises. Raises StepFailed."""
    wrong = [
        name
        for name, holds in {
            "sums before the silence are whole": seen.measured > 0,
            "sums since are partial": seen.partial > 0,
            "and say why": seen.rules == ["parts_missing"],
            "the silent inverter has a name": seen.inverter != "?",
            "the enrollment says so": any(seen.inverter in warning["text"] for warning in seen.warnings),
        }.items()
        if not holds
    ]
    if wrong:
        raise StepFailed(f"{seen.vendor}: {', '.join(wrong)}", json.dumps(structs.asdict(seen)))


def told(seen: SilentHome) -> str:
    """Says in lines what was measured, what is partial, and since when an inverter is silent."""
    return "\n".join(
        [
            f"{seen.vendor}: of the last {LOOK_BACK_S // 3600} hours {seen.measured} quarter hours are measured, "
            f"{seen.partial} partial ({', '.join(seen.rules)})",
            f"  silent since {seen.silent_since}: inverter {seen.inverter}, {seen.inverter_id}",
            *(f"  {one['count']} × {one['text']}" for one in seen.warnings),
        ]
    )
