"""The top: every screen with its digit, the way in where it is deep, and what is wrong with the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

from rich.cells import cell_len
from rich.text import Text
from textual import events

from joinder.clean import clean_line
from joinder_tui.widgets.plain import Static, line

if TYPE_CHECKING:
    from joinder_tui.app import JoinderApp
    from joinder_tui.pages import MainPage

READ_ONLY, SIMULATORS = " read-only", " simulators"
SIMULATORS_FROM = 78  # columns
GAP = 3  # before where it is
WHOLE = 20  # letters of a name


class Form(NamedTuple):
    """How the names of screens are written: letters of the one in front and of the others."""

    here: int = WHOLE
    others: int = WHOLE
    is_titled: bool = False
    is_close: bool = False  # one blank between names
    is_tight: bool = False


FORMS = (  # the first that has room
    Form(is_titled=True),
    Form(),
    Form(is_close=True),
    *(Form(others=letters) for letters in (4, 3)),
    *(Form(here=letters, others=3) for letters in (4, 3)),
    Form(others=0),
    *(Form(here=letters, others=0) for letters in (4, 0)),
    Form(here=0, others=0, is_tight=True),
)


class Crumbs(Static):
    """A click on a name leads there, as its digit does."""

    def __init__(self, pages: Sequence[MainPage]) -> None:
        super().__init__()
        self._pages = pages

    def on_mount(self) -> None:
        self.watch(self.app, "trouble", self._draw)
        self.watch(self.app, "waiting", self._draw)

    def on_resize(self) -> None:
        self._draw()

    @property
    def joinder(self) -> JoinderApp:
        return cast("JoinderApp", self.app)

    def redraw(self) -> None:
        self._draw()

    def _draw(self) -> None:
        app, lines = self.joinder, [self._line()]
        crumbs = [crumb for screen in app.screen_stack if (crumb := getattr(screen, "crumb", ""))]
        if len(crumbs) > 1 or any("[" in crumb for crumb in crumbs):
            lines.append(line(" › ".join(crumbs)))
            lines[-1].truncate(max(1, self.size.width), overflow="ellipsis")
        if app.trouble:
            lines += line(Text(app.trouble, "bold red")).wrap(app.console, max(1, self.size.width))
        text = Text("\n", no_wrap=True, overflow="crop").join(lines)
        self.update(text)

    def _line(self) -> Text:
        text = Text()
        for _, label in self._labels():
            text.append_text(label)
        text.append(self._flags, "bold yellow")
        where = _where(self.joinder)
        gap = self.size.width - text.cell_len - cell_len(where)
        return text.append(" " * gap + where, "dim") if where and gap >= GAP else text

    @property
    def _flags(self) -> str:
        """Returns what is unlike a hub of real homes that may be changed."""
        simulated = _simulates(self.joinder) and self._width >= SIMULATORS_FROM
        return (READ_ONLY if self.joinder.readonly else "") + (SIMULATORS if simulated else "")

    @property
    def _width(self) -> int:
        return self.size.width or self.app.size.width - 2  # before it is laid out

    def _labels(self) -> list[tuple[str, Text]]:
        """Names of screens with what is shown of each, in the longest form there is room for."""
        room = self._width - len(self._flags)
        drawn = (self._drawn(form) for form in FORMS)
        return next((labels for labels in drawn if _width(labels) <= room), self._drawn(FORMS[-1]))

    def _drawn(self, form: Form) -> list[tuple[str, Text]]:
        here, end = self._here(), "" if form.is_tight else " "
        labels = [("", Text("Joinder ", "bold"))] if form.is_titled else []
        for page in self._pages:
            name = page.label[: form.here if page.name == here else form.others]
            waits = f"▲{self.joinder.waiting}" if page.name == "now" and self.joinder.waiting else ""
            parts = [part for part in (page.key, name, waits) if part]
            style = "reverse bold" if page.name == here else ""
            after = "" if form.is_close and page.name != here else end
            labels.append((page.name, Text(f" {end.join(parts)}{after}", style)))
        return labels

    def _here(self) -> str:
        """Returns the main screen that is in front, or below what is."""
        modules = [type(screen).__module__.rpartition(".")[2] for screen in self.joinder.screen_stack]
        return next((page.name for page in self._pages if page.name in modules), "")

    def on_click(self, event: events.Click) -> None:
        at = event.x - 1
        if event.y:
            return
        for name, label in self._labels():
            if 0 <= at < label.cell_len and name:
                self.joinder.action_go(name)
                return
            at -= label.cell_len


def _simulates(app: JoinderApp) -> bool:
    return app.has_hub and bool(app.hub.settings.reroute)


def _where(app: JoinderApp) -> str:
    """Returns which hub it is, as its owners see it, and on which database."""
    if not app.has_hub:
        return ""
    return clean_line(f"{urlsplit(app.hub.settings.public_url).netloc} · {app.hub.store.dialect}")


def _width(labels: Sequence[tuple[str, Text]]) -> int:
    return sum(label.cell_len for _, label in labels)
