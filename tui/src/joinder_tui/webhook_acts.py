"""What an admin does with webhooks and deliveries."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from joinder_tui import texts, whose
from joinder_tui.acts import ACTOR, Act

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.events.webhooks import WithSecret
    from joinder.store.tables import WebhookEndpoint
    from joinder_tui.pages import Page
    from joinder_tui.screens.ask import FormValues

ACTS: tuple[Act, ...] = (
    Act(
        "a",
        "add",
        "Add",
        tooltip="Add a webhook; its signing secret is shown once",
        twin="joinder webhooks create URL",
        changes=True,
    ),
    Act("t", "do('test')", "Test", tooltip="Send it a test event", twin="joinder webhooks test ID", changes=True),
    Act(
        "o",
        "do('rotate')",
        "Rotate",
        tooltip="A new signing secret, shown once; the old one signs too for a day",
        twin="joinder webhooks rotate ID",
        changes=True,
    ),
    Act(
        "e",
        "do('switch')",
        "On/off",
        tooltip="Disable it, or enable it again",
        twin="joinder webhooks change ID --disable",
        changes=True,
    ),
    Act(
        "r",
        "replay",
        "Replay",
        tooltip="Send the delivery under the cursor once more",
        twin="joinder webhooks replay ID DELIVERY_ID",
        changes=True,
    ),
    Act(
        "R",
        "do('replay_since')",
        "Replay since",
        show=False,
        tooltip="Send again what was not delivered since a time",
        twin="joinder webhooks replay ID --since TIME",
        changes=True,
    ),
    Act(
        "d",
        "do('delete')",
        "Delete",
        tooltip="Delete it with its deliveries",
        twin="joinder webhooks delete ID",
        changes=True,
    ),
)


async def add(page: Page) -> None:
    from joinder.services.events import webhooks
    from joinder.services.records.event_types import EVENT_TYPES
    from joinder_tui.screens.ask import Choices, Line, ask

    account_id = await whose.account(page)
    if account_id is None:
        return

    async def create(hub: Hub, given: FormValues) -> WithSecret:
        url, types = given.lines["url"], given.choices["types"]
        return await webhooks.create(hub, account_id, ACTOR, url=url, types=types)

    fields = (
        Line("url", "URL", placeholder="https://example.com/joinder"),
        Choices("types", "Types of event; none ticked: every type", tuple(EVENT_TYPES)),
    )
    made = await ask(page, "A new webhook", fields, "Adding the webhook", create)
    if made is not None:
        page.choose("#above", made.row.id)
        _show_secret(page, made)


async def _test(page: Page, row: WebhookEndpoint) -> None:
    from joinder.services.events import replays

    if await page.doing("Making a test event", lambda hub: replays.send_test(hub, row.account_id, row.id, ACTOR)):
        page.notify("A test event waits; a server or worker sends it.")


async def _rotate(page: Page, row: WebhookEndpoint) -> None:
    from joinder.services.events import webhooks

    touches = ["What is sent is signed by both secrets for a day, then by the new one alone."]
    if await page.confirmed(f"Rotate the signing secret of {row.id}?", touches):
        made = await page.doing("Rotating", lambda hub: webhooks.rotate(hub, row.account_id, row.id, ACTOR))
        if made is not None:
            _show_secret(page, made)


async def _switch(page: Page, row: WebhookEndpoint) -> None:
    from joinder.services.events import webhooks

    enabled = row.disabled_at is None
    if enabled and not await page.confirmed(
        f"Disable {row.id}?", ["Nothing is sent to it any more, and what waits counts as failed."]
    ):
        return
    what = "Disabling" if enabled else "Enabling"
    patch = {"disabled": enabled}
    if await page.doing(what, lambda hub: webhooks.change(hub, row.account_id, row.id, ACTOR, patch=patch)):
        page.notify("Disabled" if enabled else "Enabled; R sends again what was not delivered.")


async def replay(page: Page, row: WebhookEndpoint, delivery_id: str) -> None:
    from joinder.services.events import replays

    if await page.doing("Replaying", lambda hub: replays.replay(hub, row.account_id, row.id, delivery_id, ACTOR)):
        page.notify("It is due now; a server or worker sends it.")


async def _replay_since(page: Page, row: WebhookEndpoint) -> None:
    from joinder.services.events import replays
    from joinder_tui.screens.ask import Line, ask

    async def again(hub: Hub, given: FormValues) -> int:
        return await replays.replay_since(hub, row.account_id, row.id, ACTOR, since=_epoch(given.lines["since"]))

    since = Line("since", "Since when: 3 h, 2 d, or a time of UTC", placeholder="2026-06-01 12:00")
    count = await ask(page, f"Send again what {row.id} did not get", (since,), "Replaying", again)
    if count is not None:
        page.notify(f"{texts.counted(count, 'delivery')} due now.")


async def _delete(page: Page, row: WebhookEndpoint) -> None:
    from joinder.services.events import webhook_list, webhooks

    count = await page.joinder.asked(lambda hub: webhook_list.count_sent(hub, row.id))
    if count is None:
        return
    touches = [row.url.partition("?")[0], f"Deleted with it: {texts.counted(count, 'delivery')}."]
    if await page.confirmed_by_name(f"Delete {row.id}?", row.id, touches):
        problem = await page.outcome("Deleting", lambda hub: webhooks.delete(hub, row.account_id, row.id, ACTOR))
        page.notify(problem or "Deleted", severity="error" if problem else "information")
        page.reload()


def _show_secret(page: Page, made: WithSecret) -> None:
    from joinder_tui.screens.secret import Secret

    page.app.push_screen(Secret(f"The signing secret of {made.row.id}", made.secret))


def _epoch(text: str) -> int:
    """Raises Invalid."""
    from joinder.services.refusals import Invalid

    try:
        return texts.since(text)
    except ValueError:
        raise Invalid("Give a time such as 3 h, 2 d, 2026-06-01 or 2026-06-01 12:00") from None


DEEDS: dict[str, Callable[[Page, WebhookEndpoint], Coroutine[Any, Any, None]]] = {
    "test": _test,
    "rotate": _rotate,
    "switch": _switch,
    "replay_since": _replay_since,
    "delete": _delete,
}
