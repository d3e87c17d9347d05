"""Webhooks of all accounts, and what was sent to the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import DataTable, Static

from joinder_tui import texts, webhook_acts
from joinder_tui.acts import Act
from joinder_tui.pages import Page
from joinder_tui.widgets.table import Rows, Table

if TYPE_CHECKING:
    from joinder.services.hub import Hub
    from joinder.services.outbox import Endpoint
    from joinder.services.replays import Shown
    from joinder.store.tables import WebhookEndpoint

DELIVERIES = 200  # shown of an endpoint
SIGNS = {"delivered": ("●", "green"), "pending": ("◐", "yellow"), "failed": ("■", "red")}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`deliveries` are those of `endpoint_id`; None: as they were."""

    endpoints: Sequence[Endpoint] | None = None
    endpoint_id: str = ""
    deliveries: Sequence[Shown] | None = None


class Webhooks(Page):
    """A tick asks for the endpoints or for the deliveries, in turn."""

    name_in_crumbs = "Webhooks"
    BINDINGS: ClassVar[list[BindingType]] = [
        *webhook_acts.ACTS,
        Act(
            "f",
            "failed",
            "Failed only",
            tooltip="Only deliveries that failed, or all again",
            twin="joinder webhooks deliveries ID --status failed",
        ),
        Act("tab,shift+tab", "other", "Other table", show=False, tooltip="To the deliveries, and back"),
        Act("u", "copy_url", "Copy URL", show=False, tooltip="Copy the whole URL", twin="joinder webhooks show ID"),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the webhook's id"),
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    failed_only: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__()
        self._parts = cycle(("deliveries", "endpoints"))
        self._part = ""  # what a tick asks for; empty: both
        self._endpoints: dict[str, Endpoint] = {}
        self._shown_of = ""  # whose deliveries are shown

    def body(self) -> ComposeResult:
        yield Table("State", "Waiting", "Failed", "URL", "Types", "Webhook", "Account", id="endpoints")
        yield Static("", id="of", classes="between")
        yield Table("When", "State", "Tries", "Type", "Answer", "Delivery", id="deliveries")

    def on_mount(self) -> None:
        self.query_one("#endpoints").focus()

    @property
    def chosen(self) -> WebhookEndpoint | None:
        found = self._endpoints.get(self.query_one("#endpoints", Table).selected)
        return found.row if found else None

    @property
    def chosen_delivery(self) -> str:
        return self.query_one("#deliveries", Table).selected

    def tick(self) -> None:
        self._part = next(self._parts)
        super().tick()

    async def load(self, hub: Hub) -> Answer:
        from joinder.services import outbox

        part, self._part = self._part, ""
        endpoints = None
        if part != "deliveries":
            endpoints = await outbox.endpoints(hub, account_id=self.joinder.account_id)
        chosen = self._stays(endpoints)
        if part == "endpoints" or chosen is None:
            return Answer(endpoints=endpoints)
        deliveries = await outbox.sent(
            hub, chosen.account_id, chosen.id, failed_only=self.failed_only, limit=DELIVERIES
        )
        return Answer(endpoints=endpoints, endpoint_id=chosen.id, deliveries=deliveries)

    def _stays(self, endpoints: Sequence[Endpoint] | None) -> WebhookEndpoint | None:
        """Where the cursor will be."""
        if not endpoints:
            return self.chosen if endpoints is None else None
        selected = self.query_one("#endpoints", Table).selected
        return next((one.row for one in endpoints if one.row.id == selected), endpoints[0].row)

    def show(self, answer: Answer) -> None:
        if answer.endpoints is not None:
            self._endpoints = {one.row.id: one for one in answer.endpoints}
            rows: Rows = {row_id: _endpoint(one) for row_id, one in self._endpoints.items()}
            none = "No webhook yet: a adds one."
            self.query_one("#endpoints", Table).fill(rows or {"": ("", "", "", none, "", "", "")})
        if answer.deliveries is not None:
            self._shown_of = answer.endpoint_id
            self._show_deliveries(answer.deliveries)
        elif not self._endpoints:
            self._shown_of = ""
            self._show_deliveries(())

    def _show_deliveries(self, deliveries: Sequence[Shown]) -> None:
        rows: Rows = {shown[0].id: _delivery(shown) for shown in deliveries}
        self.query_one("#deliveries", Table).fill(rows or {"": ("", "", "", "none", "", "")})
        self.query_one("#of", Static).update(self._heading())

    def _heading(self) -> Text:
        one = self._endpoints.get(self._shown_of)
        if one is None:
            return Text("")
        which = "Failed deliveries" if self.failed_only else "Deliveries, failed ones first"
        reason = f"   {one.row.disabled_reason}" if one.row.disabled_at is not None else ""
        return Text(f"{which}: {_place(one.row.url)}{reason}")

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        chosen = self.chosen
        if event.data_table.id == "endpoints" and chosen is not None and chosen.id != self._shown_of:
            self._ask_deliveries()

    def watch_failed_only(self, before: bool, after: bool) -> None:
        if before != after and self.is_mounted:
            self._ask_deliveries()

    def _ask_deliveries(self) -> None:
        self._part = "deliveries"
        self.reload()

    def action_failed(self) -> None:
        self.failed_only = not self.failed_only

    def action_other(self) -> None:
        focused = self.focused
        self.query_one("#endpoints" if focused is not None and focused.id == "deliveries" else "#deliveries").focus()

    def action_copy_url(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.url, "URL")

    def action_copy_id(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.id, "Id")

    def action_add(self) -> None:
        self.act(webhook_acts.add(self))

    def action_do(self, name: str) -> None:
        if self.chosen is not None:
            self.act(webhook_acts.DEEDS[name](self, self.chosen))

    def action_replay(self) -> None:
        if self.chosen is not None and self.chosen_delivery:
            self.act(webhook_acts.replay(self, self.chosen, self.chosen_delivery))


def _endpoint(one: Endpoint) -> tuple[str | Text, ...]:
    return (
        _state(one.row),
        texts.count(one.waiting) if one.waiting else "",
        texts.count(one.failed) if one.failed else "",
        _place(one.row.url),
        ", ".join(one.row.types) or "every type",
        one.row.id,
        one.row.account_id,
    )


def _state(row: WebhookEndpoint) -> Text:
    if row.disabled_at is not None:
        return Text.assemble(("■", "red"), f" disabled {texts.short_ago(row.disabled_at)}")
    if row.failing_since is not None:
        return Text.assemble(("◐", "yellow"), f" failing {texts.short_ago(row.failing_since)}")
    return Text.assemble(("●", "green"), " ok")


def _place(url: str) -> str:
    """What follows the question mark may be a secret."""
    place, mark, _ = url.partition("?")
    return place + ("?…" if mark else "")


def _delivery(shown: Shown) -> tuple[str | Text, ...]:
    row, event = shown
    return (
        texts.moment(event.at),
        Text.assemble(SIGNS[row.status], " ", row.status),
        str(row.attempts),
        event.type,
        row.reason or (str(row.answered) if row.answered is not None else "–"),
        row.id,
    )
