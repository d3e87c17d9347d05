"""A new join flow: which vendors owners may choose, with whose credentials, and where they come back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from joinder_tui.acts import ACTOR
from joinder_tui.screens.form import FormScreen, account_choice, chosen_account, form_acts, named
from joinder_tui.widgets.form import Choice, Entry, Ticked, Typed, entered

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.join.join_flows import FlowVendor
    from joinder.store.tables import Account, VendorCredentials
    from joinder.vendor import Vendor


_LEFT_OUT = {
    "/skipIntro": "Leave out our page before the vendor's, which says who asks for what",
    "/skipLanding": "Leave out our page after it, which says how it went",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`vendors`: of production accounts, and of virtual ones."""

    accounts: Sequence[Account] = ()
    vendors: Mapping[bool, Sequence[Vendor]] = field(default_factory=dict)
    credentials: Sequence[VendorCredentials] = ()


class FlowForm(FormScreen):
    heading = "New flow"
    saving = "Making the flow"
    BINDINGS: ClassVar[list[BindingType]] = form_acts(
        "Make", "Make this flow", "joinder flows create --vendor NAME:CREDENTIALS_ID --redirect-uri URL"
    )

    def __init__(self) -> None:
        super().__init__()
        self._answer = Answer()
        self._sent: list[str] = []  # vendors in the order of the last request, as refusals count them

    async def load(self, hub: Hub) -> Answer:
        from joinder.services.admin import flow_list
        from joinder.services.join import join_flows
        from joinder.services.records import accounts

        return Answer(
            accounts=await accounts.list_accounts(hub),
            vendors={
                is_virtual: sorted(join_flows.offered_to(hub, is_virtual=is_virtual), key=lambda vendor: vendor.label)
                for is_virtual in (False, True)
            },
            credentials=[one.row for one in await flow_list.credentials(hub, self.joinder.account_id)],
        )

    def keep(self, answer: Answer) -> None:
        self._answer = answer

    def choices(self) -> Sequence[Choice]:
        return account_choice(self._answer.accounts, self.joinder.account_id)

    def entries(self, chosen: Mapping[str, str]) -> Sequence[Entry]:
        from joinder.vendor import Field

        account_id = chosen.get("/account")
        usable = [row for row in self._answer.credentials if account_id in (None, row.account_id)]
        back = Field(
            name="redirectURI",
            label="Redirect URI",
            help="Where owners go afterwards, with enrollmentID or error",
            example="https://app.example.com/joined",
        )
        vendors = [_ticked(vendor, usable) for vendor in self._offered(chosen)]
        pages = [Ticked(place, label) for place, label in _LEFT_OUT.items()]
        return [Typed("/redirectURI", back), *vendors, *pages]

    async def save(self, hub: Hub, values: Mapping[str, str]) -> str:
        from joinder.services.join import join_flows

        account_id = chosen_account(self._answer.accounts, self.joinder.account_id, values)
        ticked = [vendor.name for vendor in self._offered(values) if _place(vendor.name) in values]
        self._sent = ticked
        flow = await join_flows.create(
            hub,
            account_id,
            ACTOR,
            vendors=[_asked(name, values) for name in ticked],
            redirect_uri=values.get("/redirectURI", ""),
            skip_intro="/skipIntro" in values,
            skip_landing="/skipLanding" in values,
        )
        self.made = flow.id
        return f"Made {flow.id}. Press c to copy the link for owners."

    def _offered(self, chosen: Mapping[str, str]) -> Sequence[Vendor]:
        """Lists the vendors of the account's mode."""
        from joinder.services.records.accounts import VIRTUAL

        accounts = self._answer.accounts
        account_id = self.joinder.account_id or chosen.get("/account") or (accounts[0].id if accounts else None)
        mode = next((one.mode for one in accounts if one.id == account_id), None)
        return self._answer.vendors.get(mode == VIRTUAL, ())

    def place_of(self, place: str) -> str:
        """Turns a number into a name: the request counts its vendors, the form names them."""
        members = place.split("/")
        if members[1:2] != ["vendors"] or len(members) < 3:
            return place
        name = self._sent[int(members[2])]
        return _place(name) if members[3] == "vendor" else "/".join([_place(name), *members[3:]])


def _place(vendor: str) -> str:
    return f"/vendors/{vendor}"


def _ticked(vendor: Vendor, credentials: Sequence[VendorCredentials]) -> Ticked:
    from joinder.services.refusals import pointer

    fitting = [row for row in credentials if row.vendor == vendor.name and _owners_join(vendor, row.type)]
    if vendor.needs_app and not fitting:
        return Ticked(_place(vendor.name), vendor.label, refusal="needs credentials first: 4, then a")
    options = [(f"{row.name or row.id} ({row.type})", row.id) for row in fitting]
    inner: list[Entry] = [Choice(f"{_place(vendor.name)}/credentialsID", "Credentials", options)] if options else []
    inner += [entered(_place(vendor.name) + pointer("options", field.name), field) for field in vendor.flow_fields]
    return Ticked(_place(vendor.name), vendor.label, inner)


def _owners_join(vendor: Vendor, type_name: str) -> bool:
    """Credentials that open their sites by themselves need no owner, so no flow."""
    from joinder.vendor import Flow

    kind = vendor.app_credential(type_name)
    return kind is not None and kind.flow is not Flow.OPERATOR


def _asked(name: str, values: Mapping[str, str]) -> FlowVendor:
    from joinder.services.join.join_flows import FlowVendor

    return FlowVendor(
        vendor=name,
        credentials_id=values.get(f"{_place(name)}/credentialsID"),
        options=named(values, f"{_place(name)}/options/"),
    )
