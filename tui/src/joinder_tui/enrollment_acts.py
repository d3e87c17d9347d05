"""What an admin does with enrollments, one or many, from the list and from the screen of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder_tui.pages import Page

SHOWN = 8  # ids listed before "and so many more"
ACTS: tuple[Act, ...] = (
    Act(
        "r",
        "do('renew')",
        "Renew",
        tooltip="Renew the token at the vendor now",
        twin="joinder enrollments refresh ID",
        changes=True,
    ),
    Act(
        "l",
        "do('read')",
        "Read",
        tooltip="Read sites and power from the vendor now",
        twin="joinder enrollments poll ID",
        changes=True,
    ),
    Act(
        "b",
        "do('backfill')",
        "Backfill",
        show=False,
        tooltip="Fetch all the history the vendor keeps, within its quota",
        twin="joinder backfills start ID",
        changes=True,
    ),
    Act(
        "p",
        "do('pause')",
        "Pause",
        tooltip="Read it no more; its token is kept alive",
        twin="joinder enrollments pause ID",
        changes=True,
    ),
    Act(
        "u",
        "do('resume')",
        "Resume",
        show=False,
        tooltip="Read a paused one again",
        twin="joinder enrollments resume ID",
        changes=True,
    ),
    Act(
        "e",
        "do('release')",
        "Release",
        show=False,
        tooltip="Let it out of quarantine, and try again",
        twin="joinder enrollments release ID",
        changes=True,
    ),
    Act(
        "c",
        "do('reconnect')",
        "Reconnect link",
        tooltip="Copy the link for the owner, and show it as a QR code",
        twin="joinder enrollments reconnect ID --qr",
    ),
    Act(
        "d",
        "do('revoke')",
        "Revoke",
        tooltip="End it: tokens, sites and readings are erased",
        twin="joinder enrollments revoke ID",
        changes=True,
    ),
)
Call = Callable[["Hub", str], Awaitable[object]]


@dataclass(frozen=True)
class Deed:
    """How one of the acts is called, and what is asked before."""

    doing: str
    done: str
    call: Call
    question: str = ""  # moderate: by one key
    by_name: bool = False  # severe: by typing


async def run(page: Page, name: str, ids: Sequence[str]) -> None:
    """Asks where that is due, then one after the other; what fails is counted and the first reason told."""
    if name == "reconnect":
        await _reconnect(page, ids[0])
        return
    deed = DEEDS[name]
    if not await _agreed(page, deed, ids):
        return
    failures = []
    for index, enrollment_id in enumerate(ids):
        place = f" {index + 1} of {len(ids)}" if len(ids) > 1 else ""
        call = partial(_called, deed.call, enrollment_id)
        outcome = await page.outcome(f"{deed.doing} {enrollment_id}{place}", call)
        if outcome is not None:
            failures.append(outcome)
    _tell(page, deed, len(ids), failures)
    if page.is_attached:
        page.reload()


async def _called(call: Call, enrollment_id: str, hub: Hub) -> object:
    return await call(hub, enrollment_id)


async def _agreed(page: Page, deed: Deed, ids: Sequence[str]) -> bool:
    if deed.by_name:
        touches = await page.joinder.asked(lambda hub: _touched(hub, ids)) or []
        name = ids[0] if len(ids) == 1 else f"{len(ids)} enrollments"
        return await page.confirmed_by_name(f"{deed.question} {name}?", name, touches)
    if deed.question or len(ids) > 1:
        question = f"{deed.question or deed.doing} {ids[0] if len(ids) == 1 else f'{len(ids)} enrollments'}?"
        return await page.confirmed(question, _listed(ids))
    return True


def _listed(ids: Sequence[str]) -> list[str]:
    more = len(ids) - SHOWN
    return [*ids[:SHOWN], *([f"and {more} more"] if more > 0 else [])]


async def _touched(hub: Hub, ids: Sequence[str]) -> list[str]:
    from joinder.services.admin import removal
    from joinder.services.grants import revocations

    ends = await removal.belongings(hub, ids)
    return [
        *_listed(ids),
        "",
        f"{texts.counted(len(ends.site_names), 'site')}, {texts.counted(ends.devices, 'device')} and "
        f"{texts.counted(ends.intervals, 'interval')} of readings are erased, and the tokens.",
        *await revocations.foretold(hub, ids),
    ]


def _tell(page: Page, deed: Deed, number: int, failures: Sequence[str]) -> None:
    well = number - len(failures)
    if well:
        page.app.notify(deed.done if number == 1 else f"{deed.done}: {well} of {number}.")
    if failures:
        more = f" ({len(failures)} failed)" if len(failures) > 1 else ""
        page.app.notify(failures[0] + more, severity="error", timeout=10)


async def _reconnect(page: Page, enrollment_id: str) -> None:
    from joinder_tui.screens.link import Link

    async def ask(hub: Hub) -> str:
        from joinder.runtime.hub import account_of
        from joinder.services.join import reconnect
        from joinder.store.tables import Enrollment

        return await reconnect.ask(hub, await account_of(hub, Enrollment, enrollment_id), enrollment_id, None)

    url = await page.doing("Making the link", ask)
    if url is not None:
        page.joinder.copy(url, "Link")
        page.app.push_screen(Link("For the owner of this enrollment; it works for 30 days.", url))


async def _of_account(hub: Hub, enrollment_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import Enrollment

    return await account_of(hub, Enrollment, enrollment_id)


async def _renew(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.join import renewal

    await renewal.renew(hub, enrollment_id)


async def _read(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.readings import poll

    await poll.poll(hub, enrollment_id)


async def _backfill(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.readings import backfill

    await backfill.start(hub, await _of_account(hub, enrollment_id), ACTOR, enrollment_id)


async def _pause(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.admin import pausing

    await pausing.pause(hub, await _of_account(hub, enrollment_id), enrollment_id, ACTOR)


async def _resume(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.admin import pausing

    await pausing.resume(hub, await _of_account(hub, enrollment_id), enrollment_id, ACTOR)


async def _release(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.admin import pausing

    await pausing.release(hub, await _of_account(hub, enrollment_id), enrollment_id, ACTOR)


async def _revoke(hub: Hub, enrollment_id: str) -> None:
    from joinder.services.join import enrollments

    await enrollments.delete(hub, await _of_account(hub, enrollment_id), enrollment_id, ACTOR)


DEEDS: dict[str, Deed] = {
    "renew": Deed("Renewing", "Renewed", _renew),
    "read": Deed("Reading", "Read", _read),
    "backfill": Deed("Starting the backfill of", "Backfill begun; a server or worker fetches it", _backfill),
    "pause": Deed("Pausing", "Paused", _pause, question="Pause reading"),
    "resume": Deed("Resuming", "Resumed", _resume),
    "release": Deed("Releasing", "Released", _release),
    "revoke": Deed("Revoking", "Revoked", _revoke, question="Revoke", by_name=True),
}
