"""Join flows, and the owners who are under way in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable

from joinder_tui import texts
from joinder_tui.acts import ACTOR, COPY_ACCOUNT, Act
from joinder_tui.pages import Page
from joinder_tui.widgets import funnel
from joinder_tui.widgets.plain import Static, line
from joinder_tui.widgets.table import Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.flow_list import ListedFlow
    from joinder.services.admin.join_attempts import JoinAttempt
    from joinder.services.admin.join_funnel import Funnel
    from joinder.services.join.join_flows import Dependents
    from joinder.store.tables import JoinFlow

ATTEMPTS = 100
ATTEMPT_COLUMNS = ("Began", "Outcome", "Vendor", "Site", "Tries", "What happened", "Code", "Enrollment", "Flow")
FUNNEL_TURNS = 15  # ticks between two looks at how far all came, which walks every attempt
SIGNS = {"joined": ("●", "green"), "under way": ("◐", "yellow"), "unfinished": ("○", "dim")}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tick brought; None is as it was."""

    flows: Sequence[ListedFlow] | None = None
    attempts: Sequence[JoinAttempt] | None = None
    funnels: Mapping[str, Funnel] | None = None  # by flow
    names: Mapping[str, str] | None = None  # of the sites of their enrollments


class Flows(Page):
    name_in_crumbs = "Flows"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "a",
            "add",
            "Add",
            tooltip="Make a flow: vendors, their credentials, where owners come back to",
            twin="joinder flows create --vendor NAME:CREDENTIALS_ID --redirect-uri URL",
            changes=True,
        ),
        Act(
            "c",
            "copy_link",
            "Copy link",
            tooltip="Copy the link for owners, and show it as a QR code",
            twin="joinder flows link ID --qr",
        ),
        Act(
            "d",
            "delete",
            "Delete",
            tooltip="Delete the flow; enrollments it made stay",
            twin="joinder flows delete ID",
            changes=True,
        ),
        Act(
            "enter",
            "open",
            "Enrollments",
            tooltip="The enrollments a flow made, or the one of an attempt",
            twin="joinder enrollments list --filter flow:ID",
        ),
        Act(
            "tab,shift+tab",
            "attempts",
            "Attempts",
            show=False,
            tooltip="To the owners' attempts, with why they failed, and back",
            twin="joinder flows attempts",
        ),
        Act(
            "f",
            "only",
            "Only this",
            tooltip="Only the attempts of the flow under the cursor, or of all again",
            twin="joinder flows attempts ID",
        ),
        Act("v", "view", "View", tooltip="Open the page that its owners see, in your browser", twin="joinder open ID"),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the flow's id"),
        COPY_ACCOUNT,
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._flows: dict[str, JoinFlow] = {}
        self._attempts: dict[str, JoinAttempt] = {}
        self._funnels: Mapping[str, Funnel] = {}
        self._only = ""  # whose attempts alone are shown

    def body(self) -> ComposeResult:
        columns = ("Vendors", "Under way", "Made", "Age", "Goes back to", "Account", "Flow")
        yield Listed(Table(*columns, id="flows", keep=2), id="made")
        yield Static("", id="whose", classes="heading")
        yield Static("", id="funnel")
        yield Listed(Table(*ATTEMPT_COLUMNS, id="attempts", keep=3, elastic="What happened"))

    async def load(self, hub: Hub) -> Answer:
        """Flows, each second tick the attempts, now and then how far all came; the first time, everything."""
        from joinder.services.admin import flow_list, join_attempts, join_funnel, site_names

        account_id = self.joinder.account_id
        if self.turn % FUNNEL_TURNS == 2:
            return Answer(funnels=await join_funnel.of_flows(hub, account_id))
        flows = None if self.turn % 2 else await flow_list.flows(hub, account_id)
        if self.turn and not self.turn % 2:
            return Answer(flows=flows)
        attempts = await join_attempts.latest(hub, account_id=account_id, flow_id=self._only or None, limit=ATTEMPTS)
        names = await site_names.of_enrollments(hub, [_enrollment(one) for one in attempts])
        funnels = await join_funnel.of_flows(hub, account_id) if self.turn == 0 else None
        return Answer(flows=flows, attempts=attempts, names=names, funnels=funnels)

    def show(self, answer: Answer) -> None:
        if answer.flows is not None:
            self._flows = {one.row.id: one.row for one in answer.flows}
            rows: Rows = {one.row.id: _flow_cells(one) for one in answer.flows}
            self.query_one("#flows", Table).fill(rows or {"": ("none yet: a makes one", *[""] * 6)})
        if answer.attempts is not None:
            self._attempts = _keyed(answer.attempts)
            names = answer.names or {}
            rows = {key: _attempt_cells(one, names.get(_enrollment(one), "–")) for key, one in self._attempts.items()}
            self.query_one("#attempts", Table).fill(rows or {"": ("none", *[""] * (len(ATTEMPT_COLUMNS) - 1))})
        if answer.funnels is not None:
            self._funnels = answer.funnels
        self._draw_funnel()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.data_table.id == "flows":
            self._draw_funnel()

    def _draw_funnel(self) -> None:
        flow = self._selected
        if flow is not None and self._only not in ("", flow.id):  # the cursor has gone on: so does what is below it
            self._only = flow.id
            self.reload()
        below = ", and who began in it" if self._only else ", and who began in any"
        self.query_one("#whose", Static).update(
            line(f"Owners of the last 30 days{f' in this flow{below}' if flow is not None else ''}")
        )
        self.query_one("#funnel", Static).update(funnel.drawn(self._funnels.get(flow.id)) if flow else "")

    @property
    def _selected(self) -> JoinFlow | None:
        return self._flows.get(self.query_one("#flows", Table).selected)

    def action_add(self) -> None:
        from joinder_tui.screens.flow_form import FlowForm

        form = FlowForm()
        self.app.push_screen(form, lambda _: self.query_one("#flows", Table).choose(form.made))

    def action_copy_link(self) -> None:
        if flow := self._selected:
            self.act(self._copy_link(flow))

    async def _copy_link(self, flow: JoinFlow) -> None:
        from joinder_tui.screens.link import Link

        url = await self.doing("Making the link", partial(_link, flow))
        if url is not None:
            self.joinder.copy(url, "Link")
            picks = "they pick one of its vendors" if len(flow.vendors) > 1 else f"to {_vendors(flow)}"
            await self.joinder.push_screen(Link(f"For owners of this flow; {picks}.", url))

    def action_delete(self) -> None:
        if flow := self._selected:
            self.act(self._delete(flow))

    async def _delete(self, flow: JoinFlow) -> None:
        async def look(hub: Hub) -> Dependents:
            from joinder.services.join import join_flows

            return await join_flows.dependents(hub, flow.account_id, flow.id)

        used = await self.doing(f"Counting what the flow of {_vendors(flow)} touches", look)
        if used is None:
            return
        touches = [
            f"{texts.counted(used.under_way, 'owner')} under way must begin again, and its links stop working.",
            f"What it made stays: {texts.counted(used.enrollments, 'enrollment')}.",
        ]
        if not await self.confirmed_by_name(f"Delete the flow of {_vendors(flow)}?", flow.id, touches):
            return

        async def delete(hub: Hub) -> bool:
            from joinder.services.join import join_flows

            await join_flows.delete(hub, flow.account_id, flow.id, ACTOR)
            return True

        if await self.doing(f"Deleting the flow of {_vendors(flow)}", delete):
            self.app.notify("Deleted.")

    def action_open(self) -> None:
        from joinder_tui.screens.enrollment import Enrollment
        from joinder_tui.screens.enrollments import Enrollments

        attempts = self.query_one("#attempts", Table)
        if attempts.has_focus:
            attempt = self._attempts.get(attempts.selected)
            enrollment_id = _enrollment(attempt) if attempt else ""
            if enrollment_id:
                self.app.push_screen(Enrollment(enrollment_id))
        elif flow := self._selected:
            self.app.switch_screen(Enrollments(f"flow:{flow.id}"))

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        self.action_open()

    def action_only(self) -> None:
        if flow := self._selected:
            self._only = "" if self._only else flow.id
            self.reload()

    def action_view(self) -> None:
        if flow := self._selected:
            self.act(self._view(flow))

    async def _view(self, flow: JoinFlow) -> None:
        url = await self.doing("Making the link", partial(_link, flow))
        if url is not None:
            self.app.open_url(url)
            self.app.notify("Opened in your browser; where there is none, c shows the link.")

    def action_attempts(self) -> None:
        attempts = self.query_one("#attempts", Table)
        (self.query_one("#flows", Table) if attempts.has_focus else attempts).focus()

    def action_copy_id(self) -> None:
        if flow := self._selected:
            self.joinder.copy(flow.id, "Id")

    def action_copy_account(self) -> None:
        if flow := self._selected:
            self.joinder.copy(flow.account_id, "Account id")


async def _link(flow: JoinFlow, hub: Hub) -> str:
    from joinder.services.join import join_sessions

    return await join_sessions.link(hub, flow.account_id, flow.id, None)


def _vendors(flow: JoinFlow) -> str:
    return ", ".join(str(entry["vendor"]) for entry in flow.vendors)


def _flow_cells(one: ListedFlow) -> tuple[str | Text, ...]:
    return (
        _vendors(one.row),
        Text(str(one.under_way), "yellow") if one.under_way else "–",
        texts.count(one.enrollments),
        texts.short_ago(one.row.created_at),
        one.row.redirect_uri,
        one.account_name,
        one.row.id,
    )


def _keyed(attempts: Sequence[JoinAttempt]) -> dict[str, JoinAttempt]:
    """Keys them by what does not change of them; several owners may begin in one second."""
    seen: Counter[str] = Counter()
    keyed = {}
    for one in attempts:
        place = f"{one.flow_id} {one.vendor} {one.began_at}"
        seen[place] += 1
        keyed[f"{place} {seen[place]}"] = one
    return keyed


def _enrollment(one: JoinAttempt) -> str:
    return one.enrollment_id or one.reconnects_id or ""


def _sign(one: JoinAttempt) -> tuple[str, str]:
    """Returns whose the next step is, where the attempt was refused; the sign of its outcome else."""
    from joinder.services.admin.join_funnel import LEFT, actor_of

    if one.outcome != "unfinished" or one.code is None or one.code in LEFT:
        return SIGNS[one.outcome]
    words, colour = funnel.ACTORS.get(actor_of(one.code), ("○", "dim"))
    return words[0], colour


def _attempt_cells(one: JoinAttempt, site: str) -> tuple[str | Text, ...]:
    from joinder.services.join.join_ends import words_of

    words = words_of(one.code) if one.code is not None else one.outcome
    return (
        texts.short_ago(one.began_at),
        Text.assemble(_sign(one), f" {words}", " again" if one.reconnects_id else ""),
        one.vendor,
        site,
        str(one.tries),
        one.text or "–",
        Text(one.code or "–", "dim"),
        _enrollment(one) or "–",
        one.flow_id or "–",
    )
