"""Webhooks and their deliveries, by keys."""

from __future__ import annotations

import pytest
from joinder_tui.screens import secret
from joinder_tui.screens.ask import Ask, Checklist
from joinder_tui.screens.confirm import Confirm, ConfirmByName
from joinder_tui.screens.secret import Secret
from joinder_tui.screens.webhooks import Webhooks
from joinder_tui.widgets.table import Table
from sqlmodel import col, select
from textual.widgets import Input

from joinder.runtime.hub import Hub
from joinder.services.events import webhook_list, webhooks
from joinder.services.records import accounts
from joinder.store.tables import Audit, Delivery, WebhookEndpoint
from services.sent import deliver, endpoint
from support import days_ago
from tui.terminal import OpenTerminal, Terminal


async def stored(hub: Hub, endpoint_id: str) -> WebhookEndpoint | None:
    async with hub.store.read() as session:
        return await session.get(WebhookEndpoint, endpoint_id)


async def statuses(hub: Hub) -> list[str]:
    async with hub.store.read() as session:
        query = select(Delivery.status).order_by(col(Delivery.created_at), col(Delivery.id))
        return list((await session.execute(query)).scalars())


async def audited(hub: Hub, action: str) -> list[str]:
    """Who did it."""
    async with hub.store.read() as session:
        return list((await session.execute(select(Audit.actor).where(col(Audit.action) == action))).scalars())


async def signing(hub: Hub, endpoint_id: str) -> dict[str, str]:
    async with hub.store.read() as session:
        row = await session.get(WebhookEndpoint, endpoint_id)
        assert row is not None
        await hub.vault.unlock(session, row.account_id)
        return dict(webhooks.signing_secrets(hub, row))


def asked(terminal: Terminal, name: str) -> Input:
    return terminal.app.screen.query_one(f"#{name}", Input)


async def test_a_webhook_is_added_and_its_secret_shown_once(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    async with open_terminal() as terminal:
        await terminal.press("6")
        await terminal.sees("No webhook yet")
        await terminal.press("a")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        asked(terminal, "url").value = "http://10.0.0.1/"
        await terminal.press("enter", "space", "enter")
        await terminal.until(lambda: "url must be" in terminal.text())
        await terminal.sees("▐X▌ enrollment.created")
        await terminal.sees("▐ ▌ enrollment.health")
        assert asked(terminal, "url").value == "http://10.0.0.1/"
        assert terminal.app.screen.query_one(Checklist).selected == ["enrollment.created"]
        assert await webhook_list.endpoints(hub) == []

        asked(terminal, "url").value = "https://hook.example/in?key=canary-4d1f"
        await terminal.press("ctrl+s")
        await terminal.until(lambda: isinstance(terminal.app.screen, Secret))
        [made] = await webhook_list.endpoints(hub, account_id=account_id)
        assert made.row.types == ["enrollment.created"]
        known = (await signing(hub, made.row.id))["secret"]
        await terminal.until(lambda: known in terminal.text().replace("\n", ""))
        await terminal.press("c")
        assert terminal.app.clipboard == known
        assert "Secret copied." in terminal.said()
        await terminal.press("escape")
        await terminal.until(lambda: "https://hook.example/in?…" in terminal.text())
        assert known not in terminal.app.export_screenshot()
        assert "canary" not in terminal.app.export_screenshot()
        assert not any(known in note for note in terminal.said())
        assert await audited(hub, "webhook.create") == ["terminal"]


async def test_left_it_adds_nothing(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    async with open_terminal() as terminal:
        await terminal.press("6", "a")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        await terminal.press("escape")
        await terminal.until(lambda: isinstance(terminal.app.screen, Webhooks))
        assert await webhook_list.endpoints(hub) == []


async def test_of_several_accounts_one_must_be_chosen(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    other = (await accounts.create_account(hub, "other")).id
    mine, theirs = await endpoint(hub, account_id, "mine"), await endpoint(hub, other, "theirs")
    async with open_terminal() as terminal:
        await terminal.press("6", "a")
        await terminal.until(lambda: "There are 2 accounts: choose one with 8 and f." in terminal.said())
        await terminal.sees(mine)
        await terminal.sees(theirs)
        terminal.app.account_id = other
        terminal.page.reload()
        await terminal.settled()
        await terminal.until(lambda: mine not in terminal.text())
        await terminal.press("a")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))


async def test_a_rotation_asks_and_shows_the_new_secret(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    before = (await signing(hub, row_id))["secret"]
    async with open_terminal() as terminal:
        await terminal.press("6", "o")
        assert isinstance(terminal.app.screen, Confirm)
        await terminal.press("n")
        assert await signing(hub, row_id) == {"secret": before}
        await terminal.press("o", "y")
        await terminal.until(lambda: isinstance(terminal.app.screen, Secret))
        after = await signing(hub, row_id)
        assert after["old_secret"] == before
        await terminal.until(lambda: after["secret"] in terminal.text().replace("\n", ""))


async def test_it_is_disabled_after_a_question_and_enabled_without(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    await deliver(hub, account_id, row_id, "pending")
    async with open_terminal() as terminal:
        await terminal.press("6", "e", "y")
        await terminal.until(lambda: "Disabled" in terminal.said())
        await terminal.until(lambda: "It was switched off." in terminal.text())
        assert (await stored(hub, row_id)).disabled_at is not None  # type: ignore[union-attr]
        assert await statuses(hub) == ["failed"]
        await terminal.press("t")
        await terminal.until(lambda: any("This webhook is disabled" in note for note in terminal.said()))
        await terminal.press("e")
        await terminal.until(lambda: any(note.startswith("Enabled") for note in terminal.said()))
        assert (await stored(hub, row_id)).disabled_at is None  # type: ignore[union-attr]


async def test_a_test_event_waits_to_be_sent(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    await endpoint(hub, account_id, "mine")
    async with open_terminal() as terminal:
        await terminal.press("6", "t")
        await terminal.until(lambda: "webhook.test" in terminal.text())
        assert await statuses(hub) == ["pending"]


async def test_failed_deliveries_come_first_and_are_replayed_one_or_all(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    _, failed, _, _ = await deliver(hub, account_id, row_id, "delivered", "failed", "delivered", "failed")
    async with open_terminal() as terminal:
        await terminal.press("6")
        sent = terminal.page.query_one("#below", Table)
        assert sent.row_count == 4
        await terminal.press("f")
        assert sent.row_count == 2
        await terminal.press("tab", "down")
        assert sent.selected == failed
        await terminal.press("r")
        await terminal.until(lambda: bool(terminal.said()))
        assert await statuses(hub) == ["delivered", "pending", "delivered", "failed"]

        await terminal.press("R")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        asked(terminal, "since").value = "yesterday"
        await terminal.press("enter")
        await terminal.until(lambda: "Give a time such as" in terminal.text())
        asked(terminal, "since").value = days_ago(200)
        await terminal.press("enter")
        await terminal.until(lambda: "0 deliveries due now." in terminal.said())


async def test_replay_since_sends_what_was_not_delivered(
    hub: Hub, account_id: str, open_terminal: OpenTerminal
) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    await deliver(hub, account_id, row_id, "delivered", "failed", kind="enrollment.created")
    async with open_terminal() as terminal:
        await terminal.press("6", "R")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        asked(terminal, "since").value = "2023-11-01 12:00"  # before the deliveries above
        await terminal.press("enter")
        await terminal.until(lambda: "1 delivery due now." in terminal.said())
        assert await statuses(hub) == ["delivered", "pending"]


async def test_deletion_wants_the_id_and_says_what_goes(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    await deliver(hub, account_id, row_id, "delivered", "failed")
    async with open_terminal() as terminal:
        await terminal.press("6", "d")
        await terminal.until(lambda: isinstance(terminal.app.screen, ConfirmByName))
        await terminal.sees("Deleted with it: 2 deliveries.")
        await terminal.press("enter")
        assert await stored(hub, row_id) is not None
        asked(terminal, "name").value = row_id
        await terminal.press("enter")
        await terminal.until(lambda: "Deleted" in terminal.said())
        assert await stored(hub, row_id) is None
        await terminal.until(lambda: "No webhook yet" in terminal.text())
        assert terminal.page.query_one("#below", Table).selected == ""


async def test_deliveries_follow_the_cursor(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    for name in ("one", "two"):
        row_id = await endpoint(hub, account_id, name)
        await deliver(hub, account_id, row_id, *["delivered"] * (1 if name == "one" else 2))
    async with open_terminal() as terminal:
        await terminal.press("6")
        sent = terminal.page.query_one("#below", Table)
        before = sent.row_count
        await terminal.press("down")
        assert {before, sent.row_count} == {1, 2}
        await terminal.press("u")
        assert terminal.app.clipboard.endswith("/hook?key=canary")
        await terminal.press("i")
        assert terminal.app.clipboard.startswith("whep-")
        assert account_id not in terminal.text()
        await terminal.press("I")
        assert terminal.app.clipboard == account_id


async def test_a_tick_asks_once(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    async with open_terminal() as terminal:
        await terminal.press("6")
        await deliver(hub, account_id, row_id, "failed")
        sent, endpoints = [terminal.page.query_one(f"#{name}", Table) for name in ("below", "above")]
        terminal.page.tick()
        await terminal.settled()
        assert sent.selected != ""
        assert str(endpoints.get_row(row_id)[2]) == ""
        terminal.page.tick()
        await terminal.settled()
        assert str(endpoints.get_row(row_id)[2]) == "1"


async def test_read_only_changes_nothing(hub: Hub, account_id: str, open_terminal: OpenTerminal) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    await deliver(hub, account_id, row_id, "failed")
    async with open_terminal(readonly=True) as terminal:
        await terminal.press("6", "a", "t", "o", "e", "r", "R", "d")
        assert isinstance(terminal.app.screen, Webhooks)
        assert await statuses(hub) == ["failed"]


async def test_a_shown_secret_is_on_no_picture_and_hides_by_itself(
    hub: Hub, open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "whsec_canary7c01"
    async with open_terminal() as terminal:
        await terminal.app.push_screen(Secret("A secret", canary))
        await terminal.settled()
        await terminal.sees(canary)
        assert canary not in terminal.app.export_screenshot()
        await terminal.sees(canary)
        await terminal.press("ctrl+p")
        assert canary not in terminal.app.export_screenshot()
        await terminal.press("escape")
        await terminal.sees(canary)
        assert canary not in repr(terminal.app.screen)
        await terminal.press("escape")

        monkeypatch.setattr(secret, "SHOWN_S", 0.5)
        await terminal.app.push_screen(Secret("A secret", canary))
        await terminal.until(lambda: "It is hidden" in terminal.text())
        assert canary not in terminal.app.export_screenshot()
        await terminal.press("c")
        assert terminal.app.clipboard == ""


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_small_terminals(hub: Hub, account_id: str, open_terminal: OpenTerminal, size: tuple[int, int]) -> None:
    row_id = await endpoint(hub, account_id, "mine")
    await deliver(hub, account_id, row_id, "failed", "delivered")
    async with open_terminal(size=size) as terminal:
        await terminal.press("6")
        for wanted in ("● ok", "mine.example", "■ failed", "● delivered"):
            await terminal.sees(wanted)
        await terminal.press("a")
        await terminal.until(lambda: isinstance(terminal.app.screen, Ask))
        await terminal.press("enter")
        await terminal.sees("enrollment.created")
