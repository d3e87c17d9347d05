"""A form: choices above, fields that follow from them below; refusals stand beside what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Select

from joinder.small_files import path_of
from joinder_tui.acts import Act
from joinder_tui.pages import Page
from joinder_tui.widgets.form import Choice, Entry, Ticked, Typed
from joinder_tui.widgets.plain import Static, line

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.store.tables import Account

FILE_MOST = 64 * 1024  # a value from a file is a key, not a disk


def form_acts(label: str, help: str, twin: str) -> list[BindingType]:
    return [
        Act("ctrl+s", "save", label, tooltip=help, twin=twin, changes=True),
        Act("ctrl+o", "load_file", "From file", tooltip="Take the value of this field from a file, such as a PEM key"),
        Act("escape", "leave", "Leave", tooltip="Leave without saving; asks when something was typed"),
        Act("ctrl+x", "app.stop_waiting", "Stop waiting", show=False, tooltip="Wait no longer for what runs"),
        Act("f1", "app.help", "Keys", show=False, tooltip="Every key of this form"),
    ]


class FormScreen(Page, ModalScreen[None]):
    """Subclasses say what is chosen, what is typed, and how it is saved. Values go nowhere but into `save`."""

    heading: ClassVar[str] = ""
    saving: ClassVar[str] = "Saving"  # shown while it takes

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[str, str] | None = None  # None: the form is not drawn yet
        self._is_saving = False
        self.made = ""  # the id of what it made; the screen below selects it

    def body(self) -> ComposeResult:
        with Container(id="form-space"), VerticalScroll(classes="dialog form", can_focus=False):
            yield Static(line(self.title_line), classes="heading")
            yield Vertical(id="choices")
            yield Vertical(id="entries")
        yield Static("", id="refusal", classes="wrong")

    @property
    def title_line(self) -> str:
        return self.heading

    @property
    def crumb(self) -> str:
        return self.heading

    async def load(self, hub: Hub) -> Any:
        """Returns what the choices are, asked once."""
        return ()

    def keep(self, answer: Any) -> None:
        """Keeps what `load` answered, before anything is drawn."""

    def choices(self) -> Sequence[Choice]:
        return ()

    def entries(self, chosen: Mapping[str, str]) -> Sequence[Entry]:
        """Returns what is drawn anew whenever a choice changes."""
        raise NotImplementedError

    async def save(self, hub: Hub, values: Mapping[str, str]) -> str:
        """Saves values by place and returns what is said when it is done; raises as services do."""
        raise NotImplementedError

    def place_of(self, place: str) -> str:
        """Returns where a refusal's JSON Pointer is shown, if the request is built otherwise than the form."""
        return place

    def ask(self) -> None:
        """Asks once: nobody's typing is drawn over."""
        if self._chosen is None:
            super().ask()

    def show(self, answer: Any) -> None:
        if self._chosen is None:
            self._chosen = {}
            self.keep(answer)
            self.run_worker(self._draw(), group="load", exit_on_error=False)

    async def _draw(self) -> None:
        choices = self.choices()
        await self.query_one("#choices").mount_all(choices)
        await self._draw_entries({choice.place: choice.value for choice in choices})
        if self.focused is None and self.focus_chain:  # which is at the top: nothing to scroll to
            self.set_focus(self.focus_chain[0], scroll_visible=False)

    async def _draw_entries(self, chosen: dict[str, str]) -> None:
        self._chosen = chosen
        entries = self.query_one("#entries")
        await entries.remove_children()
        await entries.mount_all(self.entries(chosen))
        self._say("")

    async def on_select_changed(self, event: Select.Changed) -> None:
        chosen = {choice.place: choice.value for choice in self.query_one("#choices").query(Choice)}
        if self._chosen and chosen != self._chosen:
            await self._draw_entries(chosen)

    def on_input_submitted(self) -> None:
        self.focus_next()

    def _all(self) -> Iterator[Entry]:
        """Entries that count now."""
        for holder in ("#choices", "#entries"):
            for entry in self.query_one(holder).children:
                if isinstance(entry, Entry):
                    yield entry
                if isinstance(entry, Ticked):
                    yield from entry.inner

    def action_leave(self) -> None:
        if self._is_saving:
            self.app.notify("Still saving; ctrl+x stops waiting for it.", severity="warning")
            return
        self.act(self._leave())

    async def _leave(self) -> None:
        changed = any(entry.is_changed for entry in self._all())
        if not changed or await self.confirmed("Leave, and forget what was typed?"):
            self.dismiss()

    def action_load_file(self) -> None:
        entry = next((one for one in self._all() if isinstance(one, Typed) and one.has_focus_within), None)
        if entry is None:
            self.app.notify("Put the cursor into the field that the file is for.", severity="warning")
        else:
            self.act(self._load_file(entry))

    async def _load_file(self, entry: Typed) -> None:
        from joinder_tui.screens.one_line import OneLine

        path: str | None = await self.joinder.push_screen_wait(OneLine("From which file?", "A path on this machine."))
        if path is None:
            return
        try:
            entry.value = await asyncio.to_thread(_text_of, path)
        except (OSError, ValueError) as error:
            entry.say(f"not taken from the file: {_why(error)}")
        else:
            entry.say("")

    def action_save(self) -> None:
        if not self._is_saving and self._chosen is not None:
            self.act(self._save())

    async def _save(self) -> None:
        """Saves; while it takes, nothing can be typed, and nothing of it is sent twice."""
        values = {entry.place: entry.value for entry in self._all() if entry.value}
        form, focused = self.query_one(".form"), self.focused
        self._is_saving = form.disabled = True
        try:
            done = await self._saved(values)
        finally:
            self._is_saving = form.disabled = False
        if done is None:
            if self.focused is None and focused is not None:
                focused.focus()
            return
        self.app.notify(done)
        self.dismiss()

    async def _saved(self, values: Mapping[str, str]) -> str | None:
        """Returns what to say when it is done; None when it is refused, which the form then shows."""
        from joinder.errors import ConsentInvalid
        from joinder.services.refusals import Refusal

        done: list[str] = []
        refused: list[Refusal | ConsentInvalid] = []

        async def work(hub: Hub) -> None:
            try:
                done.append(await self.save(hub, values))
            except (Refusal, ConsentInvalid) as error:
                refused.append(error)

        problem = await self.outcome(self.saving, work)
        self._clear()
        if refused:
            self._show_refusal(refused[0])
        elif problem is not None:
            self._say(problem)
        return done[0] if done else None

    def _clear(self) -> None:
        self._say("")
        for entry in self._all():
            entry.say("")

    def _show_refusal(self, error: Any) -> None:
        """Shows each sentence beside its field, and what belongs to none below; the cursor goes to the first."""
        places = {self.place_of(place): text for place, text in _places(error).items()}
        shown = [entry for entry in self._all() if entry.place in places]
        for entry in shown:
            entry.say(places.pop(entry.place))
        rest = [f"{place.strip('/')}: {text}" for place, text in places.items()]
        self._say(". ".join([str(error).rstrip("."), *rest]) + ".")
        if shown:
            self.call_after_refresh(self._go_to, shown[0])

    def _go_to(self, entry: Entry) -> None:
        control = next((child for child in entry.query("*") if child.focusable), None)
        if control is not None:
            control.focus()
        entry.scroll_visible(animate=False)

    def _say(self, text: str) -> None:
        said = self.query_one("#refusal", Static)
        said.update(text)
        said.display = bool(text)


def account_choice(accounts: Sequence[Account], shown: str | None) -> list[Choice]:
    """Asks only where there are several, and none is shown alone."""
    if shown is not None or len(accounts) < 2:
        return []
    return [Choice("/account", "Account", [(f"{one.name} ({one.id})", one.id) for one in accounts])]


def chosen_account(accounts: Sequence[Account], shown: str | None, values: Mapping[str, str]) -> str:
    """Raises Unprocessable where there is none."""
    from joinder.services.refusals import Unprocessable

    if shown is not None:
        return shown
    if not accounts:
        raise Unprocessable("There is no account yet: press 8, or joinder accounts create NAME.")
    return values.get("/account", accounts[0].id)


def named(values: Mapping[str, str], under: str, *, without: str = "") -> dict[str, str]:
    """Returns values by the last member of their place, as a service takes them."""
    found = {place: value for place, value in values.items() if place.startswith(under) and place != without}
    return {place.removeprefix(under).replace("~1", "/").replace("~0", "~"): value for place, value in found.items()}


def _places(error: Any) -> dict[str, str]:
    """Returns places with texts, of a service's refusal or of a vendor's, which knows the fields by name."""
    if hasattr(error, "errors"):
        return dict(error.errors)
    return {f"/credentials/{name}": text for name, text in error.fields.items()}


def _text_of(path: str) -> str:
    """Raises OSError, or ValueError where it is no text of a fitting size."""
    place = path_of(path)
    if not S_ISREG(place.stat().st_mode):  # a pipe would be waited for
        raise ValueError("it is no file")
    with place.open("rb") as file:
        found = file.read(FILE_MOST + 1)
    if len(found) > FILE_MOST:
        raise ValueError(f"it is longer than {FILE_MOST // 1024} KiB")
    try:
        return found.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None


def _why(error: OSError | ValueError) -> str:
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
