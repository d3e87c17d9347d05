"""One to three things an act needs to know, asked until the service takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.strip import Strip
from textual.widgets import Input, SelectionList
from textual.widgets.selection_list import Selection

from joinder_tui.acts import Act
from joinder_tui.screens.dialog import Dialog
from joinder_tui.widgets.plain import Static, line

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder_tui.pages import Page

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    name: str
    label: str
    value: str = ""
    placeholder: str = ""


@dataclass(frozen=True)
class Choices:
    """Any number of `options`."""

    name: str
    label: str
    options: Sequence[str]
    chosen: Sequence[str] = ()


@dataclass(frozen=True)
class FormValues:
    lines: dict[str, str]
    choices: dict[str, list[str]]


class Checklist(SelectionList[str]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "screen.take", "Go on", show=False)]

    def render_line(self, y: int) -> Strip:
        """Leaves out the mark of what is not ticked: Textual tells ticked ones by colour alone."""
        segments = list(super().render_line(y))
        place = segments[1].style.meta.get("option") if len(segments) > 1 and segments[1].style else None
        if place is not None and self.get_option_at_index(place).value not in self.selected:
            segments[1] = Segment(" ", segments[1].style)
        return Strip(segments)


class Ask(Dialog[FormValues | None]):
    """None: everything stays as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("escape", "dismiss(None)", "Leave", tooltip="Leave everything as it is"),
        Act("ctrl+s", "take", "Go on", tooltip="Go on with what is entered"),
    ]

    def __init__(self, heading: str, fields: Sequence[Line | Choices], problem: str = "") -> None:
        super().__init__()
        self._heading = heading
        self._asked = fields
        self._problem = problem

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=False):
            yield Static(line(self._heading), classes="heading")
            if self._problem:
                yield Static(self._problem, id="problem")
            for field in self._asked:
                yield Static(line(field.label), classes="label")
                yield _widget(field)
            yield Static("enter  go on      space  tick      escape  leave", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == self._asked[-1].name:
            self.action_take()
        else:
            self.focus_next()

    def action_take(self) -> None:
        given = FormValues({}, {})
        for field in self._asked:
            if isinstance(field, Line):
                given.lines[field.name] = self.query_one(f"#{field.name}", Input).value.strip()
            else:
                chosen = self.query_one(f"#{field.name}", Checklist).selected
                given.choices[field.name] = [option for option in field.options if option in chosen]
        self.dismiss(given)


def _widget(field: Line | Choices) -> Input | Checklist:
    if isinstance(field, Line):
        example = f"such as {field.placeholder}" if field.placeholder else ""  # never taken for what is typed
        return Input(field.value, placeholder=example, id=field.name, compact=True)
    options = [Selection(Content(line(one).plain), one, one in field.chosen) for one in field.options]
    return Checklist(*options, id=field.name, compact=True)


async def ask(
    page: Page,
    heading: str,
    fields: Sequence[Line | Choices],
    doing: str,
    work: Callable[[Hub, FormValues], Awaitable[T]],
) -> T | None:
    """Returns what the service answered; shows a refusal above what was entered. None: left."""
    problem = ""
    answers: list[T] = []
    while not answers:
        given: FormValues | None = await page.joinder.push_screen_wait(Ask(heading, fields, problem))
        if given is None:
            return None
        problem = await page.outcome(doing, _called(work, given, answers)) or ""
        fields = [_filled(field, given) for field in fields]
    page.reload()
    return answers[0]


def _called(
    work: Callable[[Hub, FormValues], Awaitable[T]], given: FormValues, answers: list[T]
) -> Callable[[Hub], Awaitable[None]]:
    async def call(hub: Hub) -> None:
        answers.append(await work(hub, given))

    return call


def _filled(field: Line | Choices, given: FormValues) -> Line | Choices:
    if isinstance(field, Line):
        return replace(field, value=given.lines[field.name])
    return replace(field, chosen=given.choices[field.name])
