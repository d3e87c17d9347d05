"""Accounts, and the API clients of the one under the cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import BindingType

from joinder_tui import account_acts, texts
from joinder_tui.acts import Act
from joinder_tui.pairs import MOVES, Pair
from joinder_tui.widgets.table import Cells

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.account_list import Tenant
    from joinder.store.tables import ApiClient


class Accounts(Pair["Tenant", "ApiClient"]):
    name_in_crumbs = "Accounts"
    columns_above = ("", "Name", "Enrollments", "Clients", "Mode", "Account", "Since")
    columns_below = ("State", "Name", "Client", "Created", "Old secret", "Scopes")
    none_above = ("", "No account yet: a makes one.", "", "", "", "", "")
    none_below = ("none", "", "", "", "", "")
    BINDINGS: ClassVar[list[BindingType]] = [
        *account_acts.ACTS,
        Act("f", "only", "Only this", tooltip="Show only its flows, credentials and webhooks, or all again"),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the id under the cursor"),
        *MOVES,
    ]

    async def load_above(self, hub: Hub) -> Mapping[str, Tenant]:
        from joinder.services.admin import account_list

        return {one.row.id: one for one in await account_list.listed(hub)}

    async def load_below(self, hub: Hub, one: Tenant) -> Mapping[str, ApiClient]:
        """Loads those that work first, the newest of them on top."""
        from joinder.services.records import accounts

        clients = await accounts.list_clients(hub, one.row.id)
        clients.sort(key=lambda client: (client.revoked_at is not None, -client.created_at))
        return {client.id: client for client in clients}

    def cells_above(self, one: Tenant) -> Cells:
        return (
            "◆" if one.row.id == self.joinder.account_id else " ",
            one.row.name,
            texts.count(one.enrollments),
            texts.count(one.clients),
            one.row.mode,
            one.row.id,
            texts.moment(one.row.created_at),
        )

    def cells_below(self, one: ApiClient) -> Cells:
        from joinder.clock import now

        works = one.revoked_at is None
        old = one.old_secret_until if works and (one.old_secret_until or 0) > now() else None
        return (
            Text.assemble(("●", "green"), " works")
            if works
            else Text.assemble(("■", "red"), f" revoked {texts.short_ago(one.revoked_at)}"),
            one.name,
            one.id,
            texts.moment(one.created_at),
            f"works {texts.ago(old)}" if old else "–",
            one.scopes,
        )

    def between(self, one: Tenant) -> str:
        only = "   ◆ only its flows, credentials and webhooks are shown" if self._is_only(one) else ""
        return f"Clients of {one.row.name}{only}"

    def _is_only(self, one: Tenant) -> bool:
        return one.row.id == self.joinder.account_id

    def action_only(self) -> None:
        if self.chosen is not None:
            self.joinder.account_id = None if self._is_only(self.chosen) else self.chosen.row.id
            self.reload()

    def action_copy_id(self) -> None:
        focused = self.focused
        below = self.chosen_below if focused is not None and focused.id == "below" else None
        if below is not None:
            self.joinder.copy(below.id, "Client id")
        elif self.chosen is not None:
            self.joinder.copy(self.chosen.row.id, "Account id")

    def action_account(self) -> None:
        self.act(account_acts.add_account(self))

    def action_account_do(self, name: str) -> None:
        if self.chosen is not None:
            self.act(account_acts.ACCOUNT_DEEDS[name](self, self.chosen.row))

    def action_do(self, name: str) -> None:
        if self.chosen_below is not None:
            self.act(account_acts.DEEDS[name](self, self.chosen_below))
