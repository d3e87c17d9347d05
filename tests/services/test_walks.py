"""How far a piece of work walks through the code: counts, no times. Who makes a walk longer sees it here."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.services.grants.refresh import refresh, refresh_due
from joinder.services.readings import poll
from services.conftest import Enroll
from services.walks import Walk, followed

_DUE = "UPDATE due SET due_at = 0 WHERE kind = 'refresh'"


def short(walk: Walk, *, files: int, moves: int, asked: int) -> bool:
    print(walk, *sorted(walk.files), *walk.asked)
    return len(walk.files) <= files and walk.moves <= moves and len(walk.asked) <= asked


async def test_a_renewal_that_is_due(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    await hub.store.apply((_DUE, {}))
    with followed(hub) as walk:
        await refresh_due(hub, enrollment_id)
    assert short(walk, files=18, moves=50, asked=4)  # the last: sites that this vendor's renewals list
    assert walk.asked[:3] == ["rows", "apply", "apply"]


async def test_a_renewal_that_somebody_waits_for(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    with followed(hub) as walk:
        await refresh(hub, enrollment_id)
    assert short(walk, files=18, moves=50, asked=4)


async def test_a_renewal_that_is_not_due_any_more(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await refresh(hub, enrollment_id)
    with followed(hub) as walk:
        await refresh_due(hub, enrollment_id)
    assert walk.asked == ["rows", "apply"]


async def test_a_poll_of_one_site(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await poll.poll(hub, enrollment_id)
    with followed(hub) as walk:
        await poll.poll(hub, enrollment_id)
    assert short(walk, files=20, moves=40, asked=6)
