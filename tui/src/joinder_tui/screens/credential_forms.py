"""What is typed about credentials: new ones, new secrets of old ones, and a vendor's operator actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from joinder_tui.acts import ACTOR
from joinder_tui.screens.form import FormScreen, account_choice, chosen_account, form_acts, named
from joinder_tui.widgets.form import Choice, Entry, Typed, entered

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.store.tables import Account, VendorCredentials
    from joinder.vendor import AppCredentialType, OperatorAction, Vendor

KIND = "/credentials/type"
ACTION = "action"  # no JSON Pointer: it is in no request


class CredentialForm(FormScreen):
    heading = "New credentials"
    saving = "Storing the credentials"
    BINDINGS: ClassVar[list[BindingType]] = form_acts(
        "Store", "Store these credentials, sealed", "joinder credentials create VENDOR TYPE --from FILE"
    )

    def __init__(self) -> None:
        super().__init__()
        self._accounts: Sequence[Account] = ()
        self._kinds: dict[str, tuple[Vendor, AppCredentialType]] = {}

    async def load(self, hub: Hub) -> tuple[list[Account], list[Vendor]]:
        from joinder.services.records import accounts

        return await accounts.list_accounts(hub), hub.registry.vendors

    def keep(self, answer: tuple[list[Account], list[Vendor]]) -> None:
        self._accounts, vendors = answer
        self._kinds = {
            f"{vendor.name} {kind.type}": (vendor, kind) for vendor in vendors for kind in vendor.app_credentials
        }

    def choices(self) -> Sequence[Choice]:
        account = account_choice(self._accounts, self.joinder.account_id)
        if not self._kinds:
            return account
        options = [(f"{vendor.label}: {kind.label}", key) for key, (vendor, kind) in self._kinds.items()]
        return [*account, Choice(KIND, "Vendor and type", options)]

    def entries(self, chosen: Mapping[str, str]) -> Sequence[Entry]:
        from joinder.services.refusals import pointer
        from joinder.vendor import Field

        if KIND not in chosen:
            return ()
        _, kind = self._kinds[chosen[KIND]]
        name = Field(name="name", label="Name", required=False, help="For people; it is never sent to the vendor")
        return [
            *(entered(pointer("credentials", field.name), field) for field in kind.fields),
            Typed("/name", name),
        ]

    async def save(self, hub: Hub, values: Mapping[str, str]) -> str:
        from joinder.services.join import vendor_credentials
        from joinder.services.refusals import Unprocessable

        account_id = chosen_account(self._accounts, self.joinder.account_id, values)
        if KIND not in values:
            raise Unprocessable("No installed vendor takes app credentials.")
        vendor, kind = self._kinds[values[KIND]]
        given = {"vendor": vendor.name, "type": kind.type, **named(values, "/credentials/", without=KIND)}
        made = await vendor_credentials.create(hub, account_id, ACTOR, name=values.get("/name"), credentials=given)
        self.made = made.id
        return f"Stored as {made.id}. Press t to ask {vendor.label} whether it knows them."


class RotateForm(FormScreen):
    heading = "New secrets"
    saving = "Storing the new secrets"
    BINDINGS: ClassVar[list[BindingType]] = form_acts(
        "Replace", "Replace what was typed; the rest stays", "joinder credentials rotate ID --from FILE"
    )

    def __init__(self, row: VendorCredentials, kind: AppCredentialType) -> None:
        super().__init__()
        self._row = row
        self._kind = kind

    @property
    def title_line(self) -> str:
        return f"New secrets of {self._row.name or self._row.id}, {self._row.vendor}. What is left empty stays."

    def entries(self, chosen: Mapping[str, str]) -> Sequence[Entry]:
        from joinder.services.refusals import pointer

        return [entered(pointer("credentials", field.name), field, is_free=True) for field in self._kind.fields]

    async def save(self, hub: Hub, values: Mapping[str, str]) -> str:
        from joinder.services.join import vendor_credentials
        from joinder.services.refusals import Unprocessable

        patch = {"credentials": named(values, "/credentials/")}
        if not patch["credentials"]:
            raise Unprocessable("Nothing was typed, so everything stays as it is.")
        await vendor_credentials.change(hub, self._row.account_id, self._row.id, ACTOR, patch=patch)
        return f"{self._row.id} has new secrets; what waited for them is tried again."


class ActionForm(FormScreen):
    heading = "At the vendor"
    saving = "Asking the vendor"
    BINDINGS: ClassVar[list[BindingType]] = form_acts(
        "Run", "Run this action at the vendor", "joinder credentials act ID ACTION --set NAME=VALUE"
    )

    def __init__(self, row: VendorCredentials, actions: Sequence[OperatorAction]) -> None:
        super().__init__()
        self._row = row
        self._actions = {action.name: action for action in actions}

    def choices(self) -> Sequence[Choice]:
        return [Choice(ACTION, "Action", [(action.label, name) for name, action in self._actions.items()])]

    def entries(self, chosen: Mapping[str, str]) -> Sequence[Entry]:
        from joinder.services.refusals import pointer

        return [entered(pointer(field.name), field) for field in self._actions[chosen[ACTION]].fields]

    async def save(self, hub: Hub, values: Mapping[str, str]) -> str:
        from joinder.services.admin import operator_actions

        return await operator_actions.run(
            hub,
            self._row.account_id,
            self._row.id,
            ACTOR,
            name=values[ACTION],
            values=named(values, "/"),
        )
