"""What an admin does with programmes, and decides about the enrollments in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.program_list import ListedProgram
    from joinder.services.join.applications import Decision
    from joinder.store.tables import Enrollment, Program
    from joinder_tui.pages import Page
    from joinder_tui.screens.ask import FormValues


def _decision(key: str, decision: Decision, label: str, tooltip: str) -> Act:
    twin = f"joinder enrollments decide ID {decision}"
    return Act(key, f"decide('{decision}')", label, tooltip=tooltip, twin=twin, changes=True)


ACTS: tuple[Act, ...] = (
    Act(
        "a",
        "add",
        "Add",
        tooltip="Make a programme of some vendors",
        twin="joinder programs create NAME --vendor VENDOR",
        changes=True,
    ),
    Act(
        "d",
        "delete",
        "Delete",
        tooltip="Delete a programme nothing uses",
        twin="joinder programs delete ID",
        changes=True,
    ),
    _decision("y", "approved", "Approve", "Take the enrollment into the programme"),
    _decision("n", "rejected", "Reject", "Refuse the enrollment, with a reason"),
    _decision("b", "resubmitrequested", "Ask back", "Ask for another application, with what is wrong with this one"),
    _decision("x", "unenrolled", "Unenroll", "Take it out of the programme: it is read no more, what was read stays"),
)
_DONE = {
    "approved": "approved",
    "rejected": "rejected",
    "resubmitrequested": "asked to apply again",
    "unenrolled": "unenrolled",
}


async def add(page: Page) -> None:
    from joinder.services.join import programs
    from joinder.services.records import accounts
    from joinder_tui import whose
    from joinder_tui.screens.ask import Choices, Line, ask

    account_id = await whose.account(page)
    if account_id is None:
        return

    async def create(hub: Hub, given: FormValues) -> Program:
        return await programs.create(
            hub, account_id, ACTOR, name=given.lines["called"], vendors=given.choices["vendors"]
        )

    async def offered(hub: Hub) -> list[str]:
        async with hub.store.read() as session:
            is_virtual = await accounts.is_virtual(session, account_id)
        return programs.vendors_of(hub, is_virtual=is_virtual)

    vendors = await page.joinder.asked(offered)
    fields = (Line("called", "Name", placeholder="Summer peaks"), Choices("vendors", "Vendors", vendors or []))
    made = await ask(page, "A new programme", fields, "Making the programme", create)
    if made is not None:
        page.choose("#above", made.id)
        page.notify(f"{made.name} is {made.id}; name it in a join flow.")


async def delete(page: Page, program: ListedProgram) -> None:
    row = program.row
    touches = [f"{texts.counted(program.enrollments, 'enrollment')} in it: with any, or with a flow, it stays."]
    if not await page.confirmed_by_name(f"Delete {row.name}?", row.id, touches):
        return

    async def end(hub: Hub) -> bool:
        from joinder.services.join import programs

        await programs.delete(hub, row.account_id, row.id, ACTOR)
        return True

    if await page.doing(f"Deleting {row.name}", end):
        page.notify("Deleted.")


async def decide(page: Page, enrollment: Enrollment, decision: Decision) -> None:
    from joinder.services.join import applications
    from joinder_tui.screens.ask import Line, ask

    async def act(hub: Hub, given: FormValues | None = None) -> bool:
        reason = given.lines["why"] or None if given is not None else None
        await applications.decide(hub, enrollment.account_id, enrollment.id, ACTOR, decision, reason)
        return True

    if decision == "approved":
        done = await page.doing(f"Approving {enrollment.id}", act)
    else:
        reason = Line("why", "Reason, which the integrator reads", placeholder="The meter is missing")
        done = await ask(page, f"{enrollment.id}: {_DONE[decision]}", (reason,), "Deciding", act)
    if done:
        page.notify(f"{enrollment.id} is {_DONE[decision]}.")
