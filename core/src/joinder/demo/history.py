"""The days before the one the demo reads: backfills, which workers fetch within each vendor's call limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from joinder.demo.client import Api, Say
from joinder.demo.processes import StepFailed
from joinder.demo.sequence import DAY_S, Connected, day_end, iso
from joinder.demo.stack import Running

LOOK_EVERY_S = 1.0


async def begin(demo: Running, connected: Sequence[Connected], days: int) -> list[str]:
    """Starts a backfill of every vendor that keeps history, and returns the ids of the jobs. Raises StepFailed."""
    keeping = {simulator.vendor for simulator in demo.simulators if simulator.has_history}
    asked = {"start": iso(day_end() - days * DAY_S)}
    return [
        (await demo.api.call("POST", f"/enrollments/{one.enrollment_id}/backfill", body=asked))["id"]
        for one in connected
        if one.vendor in keeping
    ]


async def finish(api: Api, jobs: Sequence[str], say: Say) -> None:
    """Waits until every job has fetched what it is to. Raises StepFailed."""
    for job in jobs:
        found = await _ended(api, job)
        if found["status"] != "done":
            raise StepFailed("history", f"{job} has {found['status']}: {found.get('reason', 'no reason told')}")
        say(f"History of {found['enrollmentID']} is there from {found['oldestDay']} on")


async def _ended(api: Api, job: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = await api.call("GET", f"/backfills/{job}", quietly=True)
        if found["status"] != "running":
            return found
        await asyncio.sleep(LOOK_EVERY_S)
