"""What an admin does with enrollments, one or many, from the list and from the screen of one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from joinder.services.admin.enrollment_operations import BY_WORD, OPERATIONS, Operation
from joinder_tui import new_files, texts
from joinder_tui.acts import ACTOR, Act

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder_tui.pages import Page
    from joinder_tui.screens.ask import FormValues

SHOWN = 8  # names listed before "and so many more"
_RECONNECT = Act(
    "c",
    "do('reconnect')",
    "Reconnect link",
    tooltip="Copy the link for the owner, and show it as a QR code; of all marked ones into a file",
    twin="joinder enrollments reconnect ID --qr",
)


def _act(operation: Operation) -> Act:
    return Act(
        operation.key,
        f"do('{operation.word}')",
        operation.label,
        show=operation.is_on_bar,
        tooltip=operation.help.removesuffix("."),
        twin=f"joinder {operation.command} ID",
        changes=True,
    )


ACTS: tuple[Act, ...] = (*(_act(each) for each in OPERATIONS[:-1]), _RECONNECT, _act(OPERATIONS[-1]))


_LEADS_ON = {  # state of health → the key that leads on from it
    "needs_consent": "c",
    "lost_in_flight": "c",
    "operator_action": "r",
    "quarantined": "e",
}


def way_on(state: str, actor: str | None) -> Text:
    """Names the key that does what the next step says; nothing where there is none to press."""
    from joinder.services.records import health

    key = "" if health.is_ended(state, actor) else _LEADS_ON.get(state, "")
    label = next((act.description for act in ACTS if act.key == key), "")
    return Text.assemble((key, "bold"), f" {label}") if key else Text()


async def run(page: Page, name: str, ids: Sequence[str]) -> None:
    """Asks where that is due, then one after the other; what fails is counted and the first reason told."""
    if name == "reconnect":
        await (_reconnect(page, ids[0]) if len(ids) == 1 else _reconnect_all(page, ids))
        return
    operation = BY_WORD[name]
    names = await _named(page, ids)
    if not await _agreed(page, operation, names):
        return
    failures = []
    for index, (enrollment_id, called) in enumerate(names.items()):
        place = f" {index + 1} of {len(ids)}" if len(ids) > 1 else ""
        outcome = await page.outcome(f"{operation.doing} {called}{place}", partial(_called, operation, enrollment_id))
        if outcome is not None:
            failures.append(outcome)
    _tell(page, operation, list(names.values()), failures)
    if page.is_attached:
        page.reload()


async def _named(page: Page, ids: Sequence[str]) -> dict[str, str]:
    """Returns what people call each: the name of its site, else its id."""
    from joinder.services.admin import site_names

    found = await page.joinder.asked(lambda hub: site_names.of_enrollments(hub, ids)) or {}
    return {each: found.get(each, each) for each in ids}


async def _called(operation: Operation, enrollment_id: str, hub: Hub) -> object:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import Enrollment

    return await operation.run(hub, await account_of(hub, Enrollment, enrollment_id), enrollment_id, ACTOR)


async def _agreed(page: Page, operation: Operation, names: Mapping[str, str]) -> bool:
    several = texts.counted(len(names), "enrollment")
    called = next(iter(names.values())) if len(names) == 1 else several
    if operation.asks == "its name":
        touches = await page.joinder.asked(lambda hub: _touched(hub, names)) or []
        word = next(iter(names)) if len(names) == 1 else several
        return await page.confirmed_by_name(f"{operation.question} {called}?", word, touches)
    if operation.asks == "one key" or len(names) > 1:
        return await page.confirmed(f"{operation.question or operation.label} {called}?", _listed(names))
    return True


def _listed(names: Mapping[str, str]) -> list[str]:
    shown = [each if called == each else f"{called}  {each}" for each, called in list(names.items())[:SHOWN]]
    more = len(names) - SHOWN
    return [*shown, *([f"and {more} more"] if more > 0 else [])]


async def _touched(hub: Hub, names: Mapping[str, str]) -> list[str]:
    from joinder.services.admin import removal
    from joinder.services.grants import revocations

    ids = list(names)
    ends = await removal.belongings(hub, ids)
    return [
        *_listed(names),
        "",
        f"{texts.counted(len(ends.site_names), 'site')}, {texts.counted(ends.devices, 'device')} and "
        f"{texts.counted(ends.intervals, 'interval')} of readings are erased, and the tokens.",
        *await revocations.foretold(hub, ids),
    ]


def _tell(page: Page, operation: Operation, names: Sequence[str], failures: Sequence[str]) -> None:
    well = len(names) - len(failures)
    if well:
        who = names[0] if len(names) == 1 else f"{well} of {len(names)}"
        page.app.notify(f"{operation.done.capitalize()}: {who}")
    _say_failures(page, failures)


def _say_failures(page: Page, failures: Sequence[str]) -> None:
    if failures:
        more = f" ({len(failures)} failed)" if len(failures) > 1 else ""
        page.app.notify(failures[0] + more, severity="error", timeout=10)


async def _reconnect(page: Page, enrollment_id: str) -> None:
    from joinder_tui.screens.link import Link

    url = await page.doing("Making the link", partial(_link, enrollment_id))
    if url is not None:
        page.joinder.copy(url, "Link")
        page.app.push_screen(Link("For the owner of this enrollment; it works for 30 days.", url))


async def _link(enrollment_id: str, hub: Hub) -> str:
    from joinder.runtime.hub import account_of
    from joinder.services.join import reconnect
    from joinder.store.tables import Enrollment

    account_id = await account_of(hub, Enrollment, enrollment_id)
    return await reconnect.ask(hub, account_id, enrollment_id, None, ACTOR)


async def _reconnect_all(page: Page, ids: Sequence[str]) -> None:
    """Makes a link for each, for whoever writes to owners: copied as a table, and written to a file."""
    names, urls, failures = await _named(page, ids), dict[str, str](), list[str]()
    several = texts.counted(len(names), "link")
    if not await page.confirmed(f"Make {several} for owners to consent again? They work for 30 days.", _listed(names)):
        return

    async def make(hub: Hub, enrollment_id: str) -> None:
        urls[enrollment_id] = await _link(enrollment_id, hub)

    for index, (enrollment_id, called) in enumerate(names.items()):
        doing = f"Making the link of {called} {index + 1} of {len(names)}"
        outcome = await page.outcome(doing, partial(make, enrollment_id=enrollment_id))
        failures += [outcome] if outcome is not None else []
    if urls:
        await _hand_over(page, urls)
    _say_failures(page, failures)


async def _hand_over(page: Page, urls: Mapping[str, str]) -> None:
    from joinder.services.admin import owner_links
    from joinder_tui.screens.ask import Line, ask

    table = owner_links.as_csv(await owner_links.told(page.joinder.hub, urls))
    several = texts.counted(len(urls), "link")
    page.joinder.copy(table, several.capitalize())

    async def write(_: Hub, given: FormValues) -> str:
        path = given.lines["path"]
        await asyncio.to_thread(new_files.write, path, table)
        return path

    columns = f"To a new file, a row for each owner: {', '.join(owner_links.HEADINGS)}"
    field = Line("path", columns, "links.csv")
    path = await ask(page, f"{several.capitalize()}, copied as a table", (field,), "Writing the links", write)
    if path is not None:
        page.app.notify(f"{several.capitalize()} written to {path}.")
