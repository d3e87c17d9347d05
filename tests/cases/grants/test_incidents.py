"""Incidents that other hubs have had, replayed: whose owners were asked wrongly, and what came back by itself."""

from __future__ import annotations

import pytest

from cases.grants.conftest import HOUR, MINUTE, Stage
from cases.grants.vendor import Said, Told, refusal
from misbehaving import http_answer

FLEET = 6
AWAY = http_answer(b"<html>maintenance</html>", "503 Service Unavailable")
HTML_401 = http_answer(b"<html>login</html>", "401 Unauthorized")
NO_DATA = http_answer(b'{"message": "Not Authorized"}', "401 Unauthorized")
INCIDENTS: dict[str, list[tuple[str, Said, int]]] = {  # which door answers what, for how many minutes
    "false invalid_grant for everybody after an outage": [
        ("tokens", AWAY, 2),
        ("tokens", refusal("invalid_grant"), 45),
    ],
    "cut off, then false invalid_grant": [("tokens", b"", 1), ("tokens", refusal("invalid_grant"), 45)],
    "data refused for everybody": [("data", NO_DATA, 240)],
    "a gateway's page before the token endpoint": [("tokens", HTML_401, 90)],
    "invalid_client for an hour": [("tokens", refusal("invalid_client", "401 Unauthorized"), 60)],
    "invalid_request for everybody, two hours": [("tokens", refusal("invalid_request"), 120)],
}


@pytest.mark.parametrize("incident", INCIDENTS)
async def test_no_owner_is_asked_and_everything_comes_back(stage: Stage, vendor: Told, incident: str) -> None:
    ids = await stage.fleet(FLEET)
    before = {one: (await stage.grant(one)).version for one in ids}
    for enrollment_id in ids:
        await stage.move(enrollment_id, "refresh")
        await stage.move(enrollment_id, "poll")
    for door, answer, minutes in INCIDENTS[incident]:
        answers: dict[str, Said] = getattr(vendor, door)
        answers["*"] = answer
        await stage.live(minutes * MINUTE)
        answers.clear()
    await stage.live(2 * HOUR)
    asked = await stage.told("needs_consent", "lost_in_flight")
    renewed = [one for one in ids if (await stage.grant(one)).version > before[one]]
    print(f"\n{incident}: {len(asked)} owners asked wrongly, {len(renewed)} of {FLEET} renewed by themselves")
    assert asked == []
    assert await stage.healths() == {"ok": FLEET}
    assert len(renewed) == FLEET
