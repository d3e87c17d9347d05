"""What is typed into, one value each: made from a vendor's fields, with what is wrong shown beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Select, TextArea

from joinder_tui.widgets.plain import Static, line

if TYPE_CHECKING:
    from joinder.vendor import Field


BLANK = "_" * 24  # says where to type also without colours


class Entry(Vertical):
    """`place` is its JSON Pointer in the request."""

    def __init__(self, place: str, label: str, *, hint: str = "") -> None:
        super().__init__(classes="entry")
        self.place = place
        self._label = label
        self._hint = hint

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="entry-label")
        yield self.control()
        if self._hint:
            yield Static(self._hint, classes="entry-hint")
        yield Static("", classes="wrong")

    def control(self) -> Widget:
        raise NotImplementedError

    @property
    def value(self) -> str:
        raise NotImplementedError

    @property
    def is_changed(self) -> bool:
        return bool(self.value)

    def say(self, problem: str) -> None:
        """Says what is wrong; empty: nothing."""
        said = self.query_one(".wrong", Static)
        said.update(f"✗ {problem}" if problem else "")
        said.display = bool(problem)

    def on_mount(self) -> None:
        self.say("")

    def on_descendant_focus(self) -> None:
        """Scrolls to what is typed into; in a small terminal its label may be just above."""
        self.call_after_refresh(self.scroll_visible, animate=False)


class Typed(Entry):
    """A text; a secret is never drawn, also one of many lines."""

    def __init__(self, place: str, field: Field, *, is_free: bool = False) -> None:
        example = f"For example {field.example}" if field.example else ""
        parts = (field.help or "", example)
        is_free = is_free or not field.required
        label = f"{field.label} (may be left empty)" if is_free else field.label
        super().__init__(place, label, hint=". ".join(part.rstrip(".") for part in parts if part))
        self._secret = field.secret
        self._multiline = field.multiline

    def control(self) -> Widget:
        if self._multiline and not self._secret:
            return TextArea(compact=True, tab_behavior="focus")
        return Hidden(lines=self._multiline) if self._secret else Input(compact=True, placeholder=BLANK)

    @property
    def value(self) -> str:
        control = self.query_one("Input, TextArea")
        return control.value if isinstance(control, Input) else control.text if isinstance(control, TextArea) else ""

    @value.setter
    def value(self, text: str) -> None:
        control = self.query_one("Input, TextArea")
        if isinstance(control, Input):
            control.value = text
        elif isinstance(control, TextArea):
            control.text = text


def entered(place: str, field: Field, *, is_free: bool = False) -> Entry:
    """Makes what a vendor's field is entered into: a choice where it has some. `is_free`: it may be left as it is."""
    if not field.choices:
        return Typed(place, field, is_free=is_free)
    none = [("as it is" if is_free else "none", "")] if is_free or not field.required else []
    return Choice(place, field.label, none + [(label, value) for value, label in field.choices], hint=field.help or "")


class Hidden(Input):
    """Drawn as dots, never copied, and keeps every line of what is pasted where a secret has several, such as PEM."""

    def __init__(self, *, lines: bool) -> None:
        super().__init__(password=True, compact=True, placeholder=BLANK)
        self._lines = lines

    def on_paste(self, event: events.Paste) -> None:
        if self._lines:
            event.prevent_default()
            event.stop()
            self.replace(event.text, *self.selection)

    def action_copy(self) -> None:
        self.app.bell()

    def action_cut(self) -> None:
        self.app.bell()


class Choice(Entry):
    """One of several: `options` are pairs of what is shown and the value. The first is taken unless another is."""

    def __init__(self, place: str, label: str, options: Sequence[tuple[str, str]], *, hint: str = "") -> None:
        super().__init__(place, label, hint=hint)
        self._options = options

    def control(self) -> Widget:
        options = [(line(shown), value) for shown, value in self._options]
        return Select(options, allow_blank=False, value=self._options[0][1], compact=True)

    @property
    def value(self) -> str:
        return str(self.query_one(Select).value)

    @property
    def is_changed(self) -> bool:
        return self.value != self._options[0][1]


class Tick(Checkbox):
    """Textual draws the same cross for yes and no, in two colours."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]
        return "✓" if self.value else " "


class Ticked(Entry):
    """Yes or no; what it holds is shown and counts only when it is ticked. `refusal`: why it cannot be."""

    def __init__(self, place: str, label: str, inner: Sequence[Entry] = (), *, refusal: str = "") -> None:
        super().__init__(place, label, hint=refusal)
        self._inner = inner
        self._refused = bool(refusal)

    def compose(self) -> ComposeResult:
        yield self.control()
        if self._hint:
            yield Static(self._hint, classes="entry-hint")
        yield Vertical(*self._inner, classes="inner")
        yield Static("", classes="wrong")

    def control(self) -> Widget:
        return Tick(Content(line(self._label).plain), disabled=self._refused, compact=True)

    @property
    def value(self) -> str:
        return "yes" if self.query_one(Checkbox).value else ""

    @property
    def inner(self) -> Sequence[Entry]:
        """Returns those that count now."""
        return self._inner if self.value else ()

    def say(self, problem: str) -> None:
        """Its own sentence is the last one inside."""
        said = list(self.query(".wrong").results(Static))[-1]
        said.update(f"✗ {problem}" if problem else "")
        said.display = bool(problem)

    def on_mount(self) -> None:
        self._show_inner()

    def on_checkbox_changed(self) -> None:
        self._show_inner()

    def _show_inner(self) -> None:
        self.query_one(".inner").display = bool(self.value)
