"""Programmes, and the enrollments in the one under the cursor: who waits for a decision, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.widgets import DataTable

from joinder_tui import program_acts, texts
from joinder_tui.acts import COPY_ACCOUNT, Act
from joinder_tui.pairs import MOVES, Pair
from joinder_tui.widgets.table import Cells

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.program_list import ListedProgram, Member
    from joinder.services.join.applications import Decision

SIGNS = {
    "applied": ("○", "yellow"),
    "pendingvendor": ("○", "blue"),
    "resubmitrequested": ("▲", "magenta"),
    "enrolled": ("●", "green"),
    "rejected": ("■", "red"),
    "unenrolled": ("‖", "cyan"),
}


class Programs(Pair["ListedProgram", "Member"]):
    name_in_crumbs = "Programs"
    columns_above = ("Name", "Undecided", "Enrolled", "In all", "Vendors", "From", "To", "Account", "Programme")
    columns_below = ("Status", "Site", "Vendor", "Since", "Reason", "Enrollment")
    none_above = ("No programme yet: a makes one.", "", "", "", "", "", "", "", "")
    none_below = ("none", "", "", "", "", "")
    BINDINGS: ClassVar[list[BindingType]] = [
        *program_acts.ACTS,
        Act(
            "enter",
            "open",
            "Open",
            show=False,
            tooltip="The enrollment under the cursor, whole; from a programme to those in it",
            twin="joinder enrollments show ID",
        ),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the programme's id", twin="joinder programs show ID"),
        COPY_ACCOUNT,
        *MOVES,
    ]

    async def load_above(self, hub: Hub) -> Mapping[str, ListedProgram]:
        from joinder.services.admin import program_list

        return {one.row.id: one for one in await program_list.listed(hub, self.joinder.account_id)}

    async def load_below(self, hub: Hub, one: ListedProgram) -> Mapping[str, Member]:
        from joinder.services.admin import program_list

        return {member.row.id: member for member in await program_list.members(hub, one.row.id)}

    def cells_above(self, one: ListedProgram) -> Cells:
        return (
            one.row.name,
            Text(texts.count(one.undecided), "yellow") if one.undecided else "–",
            texts.count(one.enrolled),
            texts.count(one.enrollments),
            ", ".join(one.row.vendors),
            texts.day(one.row.start_at),
            texts.day(one.row.end_at),
            one.account_name,
            one.row.id,
        )

    def cells_below(self, one: Member) -> Cells:
        row = one.row
        return (
            Text.assemble(SIGNS.get(row.status, ("?", "red")), f" {row.status}"),
            one.site_name or "–",
            row.vendor,
            texts.short_ago(row.created_at),
            row.status_reason or "–",
            row.id,
        )

    def between(self, one: ListedProgram) -> str:
        return f"In {one.row.name}: those nobody has decided about first"

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id == "below":
            self.action_open()

    def action_open(self) -> None:
        from joinder_tui.screens.enrollment import Enrollment

        if self.focused is not None and self.focused.id == "above":
            self.action_other()
        elif self.chosen_below is not None:
            self.app.push_screen(Enrollment(self.chosen_below.row.id))

    def action_copy_id(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.row.id, "Id")

    def action_copy_account(self) -> None:
        if self.chosen is not None:
            self.joinder.copy(self.chosen.row.account_id, "Account id")

    def action_add(self) -> None:
        self.act(program_acts.add(self))

    def action_delete(self) -> None:
        if self.chosen is not None:
            self.act(program_acts.delete(self, self.chosen))

    def action_decide(self, decision: Decision) -> None:
        if self.chosen_below is not None:
            self.act(program_acts.decide(self, self.chosen_below.row, decision))
