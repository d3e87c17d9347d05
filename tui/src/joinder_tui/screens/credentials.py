"""The operator's apps at vendors: whether they work, what they may still call, and what depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable

from joinder.clean import clean_line
from joinder.plurals import counted
from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.flow_list import ListedCredentials
    from joinder.services.calls.budgets import QuotaLeft, Quotas
    from joinder.services.join.vendor_credentials import CredentialsView, Dependents
    from joinder.store.tables import VendorCredentials
    from joinder.vendor import OperatorAction, Vendor


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tick brought; None is as it was."""

    listed: Sequence[ListedCredentials] | None = None
    quotas: Mapping[str, Quotas] | None = None


class Credentials(Page):
    name_in_crumbs = "Credentials"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "a",
            "add",
            "Add",
            tooltip="Store new app credentials",
            twin="joinder credentials create VENDOR TYPE --from FILE",
            changes=True,
        ),
        Act(
            "t",
            "test",
            "Test",
            tooltip="Ask the vendor whether it knows them; one call",
            twin="joinder credentials test ID",
            changes=True,
        ),
        Act(
            "o",
            "rotate",
            "Rotate",
            tooltip="Replace their secrets; what waits for them is tried again",
            twin="joinder credentials rotate ID --from FILE",
            changes=True,
        ),
        Act(
            "n",
            "rename",
            "Rename",
            show=False,
            tooltip="Give them another name",
            twin="joinder credentials rename ID NAME",
            changes=True,
        ),
        Act(
            "v",
            "reveal",
            "Reveal",
            tooltip="Show their secrets for 30 s; asks for a reason, which is audited",
            twin="joinder credentials reveal ID --reason TEXT",
            changes=True,
        ),
        Act(
            "x",
            "run_action",
            "At the vendor",
            tooltip="What the vendor asks of an operator, such as registering a domain",
            twin="joinder credentials act ID ACTION",
            changes=True,
        ),
        Act(
            "d",
            "delete",
            "Delete",
            tooltip="Delete them, once nothing depends on them",
            twin="joinder credentials delete ID",
            changes=True,
        ),
        Act(
            "enter",
            "open",
            "Enrollments",
            tooltip="The enrollments that use them",
            twin="joinder enrollments list --filter credentials:ID",
        ),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy their id"),
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listed: dict[str, ListedCredentials] = {}
        self._quotas: Mapping[str, Quotas] = {}

    def body(self) -> ComposeResult:
        columns = ("Vendor", "State", "Quota used", "Name", "Used by", "Type", "Credentials")
        yield Listed(Table(*columns, id="credentials", keep=2))
        yield Static("", id="facts", classes="facts")

    async def load(self, hub: Hub) -> Answer:
        """Loads the rows, each second tick their quotas; the first time, both."""
        from joinder.services.admin import flow_list

        if self.turn % 2:
            return Answer(quotas=await flow_list.quotas(hub, [one.row for one in self._listed.values()]))
        listed = await flow_list.credentials(hub, self.joinder.account_id)
        quotas = await flow_list.quotas(hub, [one.row for one in listed]) if self.turn == 0 else None
        return Answer(listed=listed, quotas=quotas)

    def show(self, answer: Answer) -> None:
        if answer.listed is not None:
            self._listed = {one.row.id: one for one in answer.listed}
        if answer.quotas is not None:
            self._quotas = answer.quotas
        rows: Rows = {key: self._cells(one) for key, one in self._listed.items()}
        self.query_one(Table).fill(rows or {"": ("none yet: a adds them", *[""] * 6)})
        self._show_facts()

    def _cells(self, one: ListedCredentials) -> tuple[str | Text, ...]:
        quotas = self._quotas.get(one.row.id)
        tightest = _tightest(quotas)
        return (
            one.row.vendor,
            _state(one.row, quotas, installed=self._vendor(one.row.vendor) is not None),
            texts.bar(tightest.used, tightest.limit).append(f" {tightest.span}") if tightest else "no limit",
            one.row.name or "–",
            f"{counted(one.flows, 'flow')}, {texts.count(one.enrollments)} enrolled",
            one.row.type,
            one.row.id,
        )

    def on_data_table_row_highlighted(self) -> None:
        self._show_facts()

    def _show_facts(self) -> None:
        one = self._listed.get(self.query_one(Table).selected)
        facts = _facts(one, self._quotas.get(one.row.id)) if one else Text("Secrets are stored sealed; none is shown.")
        self.query_one("#facts", Static).update(facts)

    @property
    def _selected(self) -> VendorCredentials | None:
        one = self._listed.get(self.query_one(Table).selected)
        return one.row if one else None

    def action_add(self) -> None:
        from joinder_tui.screens.credential_forms import CredentialForm

        form = CredentialForm()
        self.app.push_screen(form, lambda _: self.query_one(Table).choose(form.made))

    def action_test(self) -> None:
        if row := self._selected:
            self.act(self._test(row))

    async def _test(self, row: VendorCredentials) -> None:
        async def ask(hub: Hub) -> str:
            from joinder.services.join import credential_test

            return await credential_test.test(hub, row.account_id, row.id, ACTOR)

        sentence = await self.doing(f"Asking {row.vendor}", ask)
        if sentence is not None:
            self.app.notify(sentence, timeout=10)

    def action_rotate(self) -> None:
        from joinder_tui.screens.credential_forms import RotateForm

        row = self._selected
        vendor = self._vendor(row.vendor) if row else None
        kind = vendor.app_credential(row.type) if row and vendor else None
        if row and kind:
            self.app.push_screen(RotateForm(row, kind))
        elif row:
            self.app.notify(f"No working plugin of {row.vendor} knows {row.type} credentials.", severity="error")

    def _vendor(self, name: str) -> Vendor | None:
        return next((vendor for vendor in self.joinder.hub.registry.vendors if vendor.name == name), None)

    def action_rename(self) -> None:
        if row := self._selected:
            self.act(self._rename(row))

    async def _rename(self, row: VendorCredentials) -> None:
        from joinder_tui.screens.one_line import OneLine

        question = OneLine(
            f"Another name for {row.id}?", "For people; empty: none.", value=row.name or "", needed=False
        )
        name: str | None = await self.joinder.push_screen_wait(question)
        if name is None or name == (row.name or ""):
            return

        async def change(hub: Hub) -> CredentialsView:
            from joinder.services.join import vendor_credentials

            return await vendor_credentials.change(hub, row.account_id, row.id, ACTOR, patch={"name": name or None})

        if await self.doing(f"Renaming {row.id}", change) is not None:
            self.app.notify("Renamed.")

    def action_reveal(self) -> None:
        if row := self._selected:
            self.act(self._reveal(row))

    async def _reveal(self, row: VendorCredentials) -> None:
        from joinder_tui.screens.one_line import OneLine
        from joinder_tui.screens.reveal import Reveal

        question = OneLine(f"Why do you need the secrets of {row.name or row.id}?", "The reason is kept in the audit.")
        reason: str | None = await self.joinder.push_screen_wait(question)
        if reason is None:
            return

        async def look(hub: Hub) -> CredentialsView:
            from joinder.services.join import vendor_credentials

            return await vendor_credentials.get(hub, row.account_id, row.id, ACTOR, reveal=True, reason=reason)

        shown = await self.doing(f"Opening {row.id}", look)
        if shown is not None and shown.secrets is not None:
            await self.joinder.push_screen(Reveal(f"{row.vendor}: {row.name or row.id}", shown.secrets))

    def action_run_action(self) -> None:
        if row := self._selected:
            self.act(self._run_action(row))

    async def _run_action(self, row: VendorCredentials) -> None:
        from joinder_tui.screens.credential_forms import ActionForm

        async def look(hub: Hub) -> list[OperatorAction]:
            from joinder.services.admin import operator_actions

            return await operator_actions.list_actions(hub, row.account_id, row.id)

        actions = await self.doing(f"Looking at what {row.vendor} offers", look)
        if actions:
            await self.joinder.push_screen(ActionForm(row, actions))
        elif actions is not None:
            self.app.notify(f"{row.vendor} asks nothing of an operator with {row.type} credentials.")

    def action_delete(self) -> None:
        if row := self._selected:
            self.act(self._delete(row))

    async def _delete(self, row: VendorCredentials) -> None:
        async def look(hub: Hub) -> Dependents:
            from joinder.services.join import vendor_credentials

            return await vendor_credentials.dependents(hub, row.account_id, row.id)

        used = await self.doing(f"Counting what depends on {row.id}", look)
        if used is None:
            return
        if used.flows or used.enrollments:
            self.app.notify(
                f"Not deleted: {row.id} is used by {texts.counted(used.flows, 'flow')} and "
                f"{texts.counted(used.enrollments, 'enrollment')}. "
                "Enter shows the enrollments, 3 the flows.",
                severity="error",
                timeout=10,
            )
            return
        touches = ["No flow and no enrollment depends on them.", "The app at the vendor stays as it is."]
        if not await self.confirmed_by_name(f"Delete {row.vendor} {row.name or row.id}?", row.id, touches):
            return

        async def delete(hub: Hub) -> bool:
            from joinder.services.join import vendor_credentials

            await vendor_credentials.delete(hub, row.account_id, row.id, ACTOR)
            return True

        if await self.doing(f"Deleting {row.id}", delete):
            self.app.notify("Deleted.")

    def action_open(self) -> None:
        from joinder_tui.screens.enrollments import Enrollments

        if row := self._selected:
            self.app.switch_screen(Enrollments(f"credentials:{row.id}"))

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        self.action_open()

    def action_copy_id(self) -> None:
        if row := self._selected:
            self.joinder.copy(row.id, "Id")


def _tightest(quotas: Quotas | None) -> QuotaLeft | None:
    return max(quotas.quotas, key=lambda one: one.used / one.limit, default=None) if quotas else None


def _state(row: VendorCredentials, quotas: Quotas | None, *, installed: bool) -> Text:
    if row.rejected_at is not None:
        return Text.assemble(("■", "red"), f" rejected {texts.short_ago(row.rejected_at)}")
    if row.suspected_at is not None:
        return Text.assemble(("▲", "yellow"), f" suspected {texts.short_ago(row.suspected_at)}")
    if not installed:
        return Text.assemble(("▲", "magenta"), " no plugin")
    if quotas is not None and quotas.blocked_until is not None:
        return Text.assemble(("‖", "yellow"), f" blocked {texts.short_ago(quotas.blocked_until)}")
    return Text.assemble(("●", "green"), " ok")


def _facts(one: ListedCredentials, quotas: Quotas | None) -> Text:
    row = one.row
    text = Text.assemble(
        (row.id, "bold"), f"  {row.type}  account {clean_line(one.account_name)} {row.account_id}  ", _since(row), "\n"
    )
    if quotas is None:
        return text.append("No working plugin of this vendor is installed.")
    for left in quotas.quotas:
        text.append_text(texts.bar(left.used, left.limit, 20))
        text.append(f"  {texts.count(left.used)} of {texts.count(left.limit)} calls this {left.span}, ")
        text.append(f"{texts.count(max(0, left.limit - left.used))} left; anew {texts.ago(left.resets_at)}\n")
    if not quotas.quotas:
        text.append("The vendor states no limit.\n")
    if quotas.blocked_until is not None:
        text.append(f"The vendor allows no call for {texts.short_ago(quotas.blocked_until)}.", "yellow")
    return text


def _since(row: VendorCredentials) -> Text:
    if row.rejected_at is not None:
        told = f"rejected by the vendor {texts.ago(row.rejected_at)}"
        return Text(f"{told}; one grant tries it {texts.ago(row.test_at)}" if row.test_at else told, "red")
    if row.suspected_at is not None and row.test_at is not None:
        first = f"refused by the vendor {texts.ago(row.suspected_at)}, not proved yet"
        return Text(f"{first}; one grant tries it {texts.ago(row.test_at)}", "yellow")
    return Text(f"changed {texts.ago(row.updated_at)}")
