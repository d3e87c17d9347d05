"""The keys of the key file and the peppers: what each is for, a rotation with its progress, and what may be retired."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import ProgressBar

from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Cells, Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.keys import KeyUse, Progress
    from joinder.services.admin.peppers import PepperUse

Answer = tuple[Sequence["KeyUse"], Sequence["PepperUse"]]
COPY = "Keep a copy of the key file apart from the database."


class Keys(Page):
    name_in_crumbs = "Keys"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "p",
            "prepare",
            "Prepare",
            tooltip="Only write a new key into the file, to give the file to other machines before a rotation",
            twin="joinder keys rotate --prepare",
            changes=True,
        ),
        Act(
            "o",
            "rotate",
            "Rotate",
            tooltip="Wrap every data key by a new key; what was cut goes on",
            twin="joinder keys rotate",
            changes=True,
        ),
        Act(
            "x",
            "retire",
            "Retire",
            tooltip="Take a key that wraps nothing out of the file, or end a pepper that no client needs",
            twin="joinder keys retire KEY_ID",
            changes=True,
        ),
        Act("i", "copy_id", "Copy id", tooltip="Copy the id of the key or pepper"),
        Act(
            "tab,shift+tab",
            "other",
            "Peppers",
            tooltip="To the peppers, and back; joinder keys rotate --pepper makes a new one",
            twin="joinder keys peppers",
        ),
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._uses: Sequence[KeyUse] = ()
        self._peppers: Sequence[PepperUse] = ()

    def body(self) -> ComposeResult:
        yield Listed(Table("Key", "Data keys", "State", id="keys", keep=1))
        yield ProgressBar(show_eta=False, id="rotation")
        yield Static("", id="summary")
        yield Static("Peppers, which fingerprint clients' secrets and seal links and the audit", classes="heading")
        yield Listed(Table("Pepper", "Clients", "State", "Names", id="peppers", keep=1, elastic="Names"))

    def on_mount(self) -> None:
        self.query_one("#rotation").display = False
        self.query_one("#keys").focus()

    async def load(self, hub: Hub) -> Answer:
        """Reads the keys, each second tick the peppers; the first time, both."""
        from joinder.services.admin import keys, peppers

        uses = self._uses if self.turn % 2 else await keys.uses(hub)
        return uses, await peppers.uses(hub) if self.turn == 0 or self.turn % 2 else self._peppers

    def show(self, answer: Answer) -> None:
        self._uses, self._peppers = answer
        rows: Rows = {use.id: (use.id, texts.count(use.wraps), _state(use)) for use in self._uses}
        self.query_one("#keys", Table).fill(rows)
        self.query_one("#peppers", Table).fill({use.id: _pepper_cells(use) for use in self._peppers})
        left = sum(use.wraps for use in self._uses if not use.first)
        told = f"Wrapped by an older key: {texts.counted(left, 'data key')}; o rotates. " if left else ""
        self.query_one("#summary", Static).update(told + COPY)

    def action_copy_id(self) -> None:
        self.joinder.copy(self._front.selected, "Pepper's id" if self._front.id == "peppers" else "Key id")

    @property
    def _front(self) -> Table:
        peppers = self.query_one("#peppers", Table)
        return peppers if peppers.has_focus else self.query_one("#keys", Table)

    def action_other(self) -> None:
        self.query_one("#keys" if self._front.id == "peppers" else "#peppers", Table).focus()

    def action_prepare(self) -> None:
        self.act(self._prepare())

    def action_rotate(self) -> None:
        self.act(self._rotate())

    def action_retire(self) -> None:
        retire = self._retire_pepper if self._front.id == "peppers" else self._retire
        self.act(retire(self._front.selected))

    async def _prepare(self) -> None:
        from joinder.services.admin import keys

        touches = ["The file gets a new key, which wraps what is new from now on.", COPY]
        if await self.confirmed("Prepare a rotation?", touches):
            done = await self.doing("Preparing", keys.prepare)
            if done is not None:
                self.notify(f"{done[0]} comes first in the key file. Give the file to every machine, then o rotates.")

    async def _rotate(self) -> None:
        touches = [
            f"A new key wraps {texts.counted(sum(use.wraps for use in self._uses), 'data key')}, or the "
            "one that was prepared does. Servers go on.",
            "Those on other machines need the key file first: p prepares it.",
            COPY,
        ]
        if not await self.confirmed("Rotate the key?", touches):
            return
        bar = self.query_one("#rotation", ProgressBar)
        bar.display = True
        done = await self.doing("Rotating the key", self._rotated)
        bar.display = False
        if done is not None:
            self.notify(f"{done.key_id} wraps {texts.counted(done.total, 'data key')}. {COPY}")

    async def _rotated(self, hub: Hub) -> Progress:
        from joinder.services.admin import keys

        bar = self.query_one("#rotation", ProgressBar)
        async for progress in keys.rotate(hub, ACTOR):
            bar.update(total=progress.total, progress=progress.done)
        return progress

    async def _retire(self, key_id: str) -> None:
        from joinder.services.admin import keys

        touches = [
            "It wraps no data key, and is taken out of the key file.",
            "Backups made before the rotation open with this key alone: keep a copy of the file as long as those.",
        ]
        await self._retired("key", key_id, keys, touches)

    async def _retire_pepper(self, pepper_id: str) -> None:
        from joinder.services.admin import peppers

        touches = [
            "It is erased; no client needs it.",
            "Links to owners' pages, receipts and reconnect links that were made with it work no more.",
        ]
        await self._retired("pepper", pepper_id, peppers, touches)

    async def _retired(self, kind: str, key_id: str, service: ModuleType, touches: Sequence[str]) -> None:
        refused = await self.outcome(f"Retiring {key_id}", lambda hub: service.retirable(hub, key_id))
        if refused is not None:
            self.notify(refused, severity="error", timeout=10)
            return
        if await self.confirmed_by_name(f"Retire {kind} {key_id}?", key_id, touches):
            problem = await self.outcome(f"Retiring {key_id}", lambda hub: service.retire(hub, ACTOR, key_id))
            self.notify(problem or "Retired", severity="error" if problem else "information")
            self.reload()


def _state(use: KeyUse) -> Text:
    return _told("wraps what is new" if use.first else "", may_go=use.is_retirable)


def _pepper_cells(use: PepperUse) -> Cells:
    state = _told("makes what is new" if use.newest else "", may_go=use.is_retirable)
    names = ", ".join(use.clients) or "–"
    return use.id, texts.count(len(use.clients)), state, names


def _told(work: str, *, may_go: bool) -> Text:
    if work:
        return Text.assemble(("●", "green"), f" {work}")
    sign, text = (("○", "blue"), " may be retired") if may_go else (("◐", "yellow"), " still needed")
    return Text.assemble(sign, text)
