"""The keys of the key file: what each wraps, a rotation with its progress, and what may be retired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import ProgressBar

from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.keys import KeyUse, Progress

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
            tooltip="Take a key that wraps nothing out of the file",
            twin="joinder keys retire KEY_ID",
            changes=True,
        ),
        Act("i", "copy_id", "Copy id", tooltip="Copy the key's id"),
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._uses: Sequence[KeyUse] = ()

    def body(self) -> ComposeResult:
        yield Listed(Table("Key", "Data keys", "State", id="keys", keep=1))
        yield ProgressBar(show_eta=False, id="rotation")
        yield Static("", id="summary")

    def on_mount(self) -> None:
        self.query_one("#rotation").display = False
        self.query_one("#keys").focus()

    async def load(self, hub: Hub) -> Sequence[KeyUse]:
        from joinder.services.admin import keys

        return await keys.uses(hub)

    def show(self, answer: Sequence[KeyUse]) -> None:
        self._uses = answer
        rows: Rows = {use.id: (use.id, texts.count(use.wraps), _state(use)) for use in answer}
        self.query_one("#keys", Table).fill(rows)
        left = sum(use.wraps for use in answer if not use.first)
        told = f"Wrapped by an older key: {texts.counted(left, 'data key')}; o rotates. " if left else ""
        self.query_one("#summary", Static).update(told + COPY)

    def action_copy_id(self) -> None:
        self.joinder.copy(self.query_one("#keys", Table).selected, "Key id")

    def action_prepare(self) -> None:
        self.act(self._prepare())

    def action_rotate(self) -> None:
        self.act(self._rotate())

    def action_retire(self) -> None:
        self.act(self._retire(self.query_one("#keys", Table).selected))

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

        refused = await self.outcome(f"Retiring {key_id}", lambda hub: keys.retirable(hub, key_id))
        if refused is not None:
            self.notify(refused, severity="error", timeout=10)
            return
        touches = [
            "It wraps no data key, and is taken out of the key file.",
            "Backups made before the rotation open with this key alone: keep a copy of the file as long as those.",
        ]
        if await self.confirmed_by_name(f"Retire key {key_id}?", key_id, touches):
            problem = await self.outcome(f"Retiring {key_id}", lambda hub: keys.retire(hub, ACTOR, key_id))
            self.notify(problem or "Retired", severity="error" if problem else "information")
            self.reload()


def _state(use: KeyUse) -> Text:
    if use.first:
        return Text.assemble(("●", "green"), " wraps what is new")
    if use.is_retirable:
        return Text.assemble(("○", "blue"), " may be retired")
    return Text.assemble(("◐", "yellow"), " still needed")
