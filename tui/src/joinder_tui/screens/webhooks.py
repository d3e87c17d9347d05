"""Webhooks of all accounts, and what was sent to the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.reactive import reactive

from joinder.clean import clean_line
from joinder_tui import texts, webhook_acts
from joinder_tui.acts import COPY_ACCOUNT, Act
from joinder_tui.pairs import MOVES, Pair
from joinder_tui.widgets.table import Cells

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.events.replays import Shown
    from joinder.services.events.webhook_list import Endpoint
    from joinder.store.tables import WebhookEndpoint

DELIVERIES = 200  # shown of an endpoint
SIGNS = {"delivered": ("●", "green"), "pending": ("◐", "yellow"), "failed": ("■", "red")}


class Webhooks(Pair["Endpoint", "Shown"]):
    name_in_crumbs = "Webhooks"
    columns_above = ("State", "Waiting", "Failed", "URL", "Types", "Account", "Webhook")
    columns_below = ("When", "State", "Tries", "Type", "Answer", "Delivery")
    none_above = ("", "", "", "No webhook yet: a adds one.", "", "", "")
    none_below = ("none", "", "", "", "", "")
    BINDINGS: ClassVar[list[BindingType]] = [
        *webhook_acts.ACTS,
        Act(
            "f",
            "failed",
            "Failed only",
            tooltip="Only deliveries that failed, or all again",
            twin="joinder webhooks deliveries ID --status failed",
        ),
        Act("u", "copy_url", "Copy URL", show=False, tooltip="Copy the whole URL", twin="joinder webhooks show ID"),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the webhook's id"),
        COPY_ACCOUNT,
        *MOVES,
    ]

    failed_only: reactive[bool] = reactive(False)

    async def load_above(self, hub: Hub) -> Mapping[str, Endpoint]:
        from joinder.services.events import webhook_list

        return {one.row.id: one for one in await webhook_list.endpoints(hub, account_id=self.joinder.account_id)}

    async def load_below(self, hub: Hub, one: Endpoint) -> Mapping[str, Shown]:
        from joinder.services.events import replays
        from joinder.services.refusals import NotFound

        status = "failed" if self.failed_only else None
        try:
            sent = await replays.latest(hub, one.row.account_id, one.row.id, status=status, limit=DELIVERIES)
        except NotFound:  # it was deleted elsewhere
            return {}
        return {shown[0].id: shown for shown in sorted(sent, key=lambda shown: shown[0].status != "failed")}

    def cells_above(self, one: Endpoint) -> Cells:
        return (
            _state(one.row),
            texts.count(one.waiting) if one.waiting else "",
            texts.count(one.failed) if one.failed else "",
            _place(one.row.url),
            ", ".join(one.row.types) or "every type",
            one.account_name,
            one.row.id,
        )

    def cells_below(self, one: Shown) -> Cells:
        row, event = one
        return (
            texts.moment(event.at),
            Text.assemble(SIGNS[row.status], " ", row.status),
            str(row.attempts),
            event.type,
            row.reason or (str(row.answered) if row.answered is not None else "–"),
            row.id,
        )

    def between(self, one: Endpoint) -> str:
        which = "Failed deliveries" if self.failed_only else "The latest deliveries, failed ones first"
        reason = f"   {one.row.disabled_reason}" if one.row.disabled_at is not None else ""
        return f"{which}: {_place(one.row.url)}{reason}"

    def watch_failed_only(self, before: bool, after: bool) -> None:
        if before != after and self.is_mounted:
            self.ask_below()

    def action_failed(self) -> None:
        self.failed_only = not self.failed_only

    def action_copy_url(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(clean_line(self.chosen.row.url), "URL")

    def action_copy_id(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.row.id, "Id")

    def action_copy_account(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.row.account_id, "Account id")

    def action_add(self) -> None:
        self.act(webhook_acts.add(self))

    def action_do(self, name: str) -> None:
        if self.chosen is not None:
            self.act(webhook_acts.DEEDS[name](self, self.chosen.row))

    def action_replay(self) -> None:
        if self.chosen is not None and self.chosen_below is not None:
            self.act(webhook_acts.replay(self, self.chosen.row, self.chosen_below[0].id))


def _state(row: WebhookEndpoint) -> Text:
    if row.disabled_at is not None:
        return Text.assemble(("■", "red"), f" disabled {texts.short_ago(row.disabled_at)}")
    if row.failing_since is not None:
        return Text.assemble(("◐", "yellow"), f" failing {texts.short_ago(row.failing_since)}")
    return Text.assemble(("●", "green"), " ok")


def _place(url: str) -> str:
    """Returns the URL without what follows the question mark, which may be a secret."""
    place, mark, _ = url.partition("?")
    return place + ("?…" if mark else "")
