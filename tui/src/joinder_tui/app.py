"""The application: opens the store, shows one screen at a time, and stays alive whatever the store or a vendor does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.events import Event, Key, Paste, Resize
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.screen import Screen

from joinder.clean import clean_line
from joinder_tui import themes
from joinder_tui.acts import Act, acts_of
from joinder_tui.keyboard import Keyboard
from joinder_tui.pages import PAGES, Page
from joinder_tui.screens.help import Help
from joinder_tui.screens.opening import Opening, TooSmall
from joinder_tui.screens.reveal import Reveal
from joinder_tui.screens.secret import Secret
from joinder_tui.widgets.doing import Deed
from joinder_tui.widgets.notes import Note
from joinder_tui.widgets.plain import Visible
from joinder_tui.widgets.table import Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.settings import Settings
    from joinder_tui.conformance import Result

T = TypeVar("T")
OpenHub = Callable[[], AbstractAsyncContextManager["Hub"]]
TICK_S = 2.0
AGAIN_S = 2.0  # between two tries to open a store that is away
PATIENCE_S = 10.0  # of a look into the store; a vendor's call may take as long as it takes
VISIBLE = Visible()
SMALLEST = (40, 10)
NOTES = 3  # at once
CLIPBOARD_BYTES = 74_994  # what terminals take of OSC 52, in base64


class JoinderApp(App[int]):
    """Answers an exit code."""

    TITLE = "Joinder"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Act(page.key, f"go('{page.name}')", page.label, show=False, tooltip=page.help, twin=page.twin)
            for page in PAGES
        ),
        Act("question_mark", "help", "Help", tooltip="Every key of this screen, and the command that does the same"),
        Act("ctrl+x", "stop_waiting", "Stop waiting", show=False, tooltip="Wait no longer for what runs"),
        Act("q", "quit", "Quit", tooltip="Leave; servers and workers go on"),
    ]

    trouble: reactive[str] = reactive("")  # why the store cannot be read now
    waiting: reactive[int] = reactive(0)  # enrollments that wait for the operator or an owner
    notes: reactive[tuple[Note, ...]] = reactive(())  # what was said a moment ago

    def __init__(self, opening: OpenHub, *, readonly: bool = False) -> None:
        super().__init__()
        for theme in themes.own():
            self.register_theme(theme)
        if self.console.color_system == "standard":  # sixteen: nearest to a theme's amber may be red
            self.theme = "ansi"
        self.readonly = readonly
        self.account_id: str | None = None  # whose flows, credentials and webhooks are shown; None: the only one's
        self.checked: dict[str, Result] = {}  # by vendor: what the last conformance check of this session found
        self._opening = opening
        self._hub: Hub | None = None
        self._leaving = asyncio.Event()
        self._code = 0  # of the exit
        self.deeds: dict[asyncio.Future[Any], Deed] = {}  # what runs now, whichever screen began it
        self.keyboard = Keyboard(self, super().on_event)

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            self.keyboard.take(event)
        else:
            await super().on_event(event)

    def on_mount(self) -> None:
        self.run_worker(self.keyboard.run(), group="keys", exit_on_error=False)
        self.push_screen(Opening())
        self._hold_store()
        self.set_interval(TICK_S, self._tick)

    @work(exit_on_error=False)
    async def _hold_store(self) -> None:
        """Enters and leaves in one task, as what it holds may belong to a task.

        A database that is away is asked again; what somebody must correct is said, and nothing more is tried.
        """
        while not self._leaving.is_set():
            try:
                async with self._opening() as hub:
                    self._hub = hub
                    self._go_first()
                    await self._leaving.wait()
            except Exception as error:  # noqa: BLE001 - said on the screen, never as a traceback
                self._say_closed(error)
                if not _is_away(error):
                    return
            finally:
                self._hub = None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), AGAIN_S)

    def _go_first(self) -> None:
        self._code = 0
        self.switch_screen(PAGES[0].make())

    def _say_closed(self, error: Exception) -> None:
        """Says it where it is looked for, and in the exit code."""
        if isinstance(self.screen, Opening):
            self.screen.say(_closed(error), again=_is_away(error))
            self._code = _code(error)
        else:
            self.trouble = f"The store was closed: {error}"

    @property
    def has_hub(self) -> bool:
        return self._hub is not None

    @property
    def hub(self) -> Hub:
        """Returns the open hub: only screens ask, and they are shown once it is."""
        if self._hub is None:
            raise LookupError("the store is not open")
        return self._hub

    async def action_quit(self) -> None:
        self._leaving.set()
        self.exit(self._code)

    async def on_unmount(self) -> None:
        self._leaving.set()

    async def asked(self, question: Callable[[Hub], Awaitable[T]]) -> T | None:
        """Returns an answer of the store; None while it does not answer, which the banner says until it does again."""
        if self._hub is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await question(self._hub)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises: the next tick asks again
            self.trouble = _trouble(error)
            return None
        self.trouble = ""
        return answer

    def _tick(self) -> None:
        """Asks at most one query, of the screen in front; there is none when the app has just left."""
        front = self.screen_stack[-1:]
        if front and isinstance(front[0], Page):
            front[0].tick()

    def action_go(self, name: str) -> None:
        """Goes to a main screen, however deep one is."""
        if self._hub is None:
            return
        page = next(page for page in PAGES if page.name == name)
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self.switch_screen(page.make())

    def action_help(self) -> None:
        if not isinstance(self.screen, Help):
            lists = Table.BINDINGS if self.screen.query(Table) else []
            acts: dict[str, Act] = {}
            for act in (*acts_of(self.screen.BINDINGS), *acts_of(lists), *acts_of(self.BINDINGS)):
                acts.setdefault(act.key, act)  # a key of the screen's own hides what lies below it
            self.push_screen(Help(list(acts.values())))

    def action_stop_waiting(self) -> None:
        """Stops waiting for the newest; what a vendor was asked ends by itself."""
        if self.deeds:
            list(self.deeds)[-1].cancel()

    def copy(self, text: str, what: str) -> None:
        """Copies by OSC 52, and says what; some terminals take none, and none takes everything."""
        if len(text.encode()) * 4 // 3 > CLIPBOARD_BYTES:
            self.notify(f"{what} is too long for the clipboard.", severity="error")
            return
        self.copy_to_clipboard(text)
        self.notify(f"{what} copied.")

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Draws it without a secret that is shown."""
        with self.screen.covered() if isinstance(self.screen, Secret | Reveal) else nullcontext():
            return super().export_screenshot(title=title, simplify=simplify)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Says it on lines of its own, over a dialog in a toast; never markup, as most of them hold a name."""
        lasts_s = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        said = clean_line(message)
        self.notes = (*self.notes, Note(said, severity, lasts_s))[-NOTES:]
        self.set_timer(lasts_s, self._forget_notes)
        super().notify(said, title=clean_line(title), severity=severity, timeout=lasts_s, markup=False)

    def _forget_notes(self) -> None:
        self.notes = tuple(note for note in self.notes if not note.is_over)

    def clear_notifications(self) -> None:
        self.notes = ()
        super().clear_notifications()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), VISIBLE]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offers every act, and of Textual's own commands those whose names are not taken: its Keys are not ours."""
        acts = [
            act for act in (*acts_of(screen.BINDINGS), *acts_of(self.BINDINGS)) if not (self.readonly and act.changes)
        ]
        for act in acts:
            yield SystemCommand(act.description, act.tooltip, lambda act=act: self._run(screen, act))
        taken = {act.description for act in acts}
        yield from (own for own in super().get_system_commands(screen) if own.title not in taken)

    async def _run(self, screen: Screen[object], act: Act) -> None:
        await self.run_action(act.action, screen if act in screen.BINDINGS else self)

    def on_resize(self, event: Resize) -> None:
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        shown = isinstance(self.screen, TooSmall)
        if small and not shown:
            self.push_screen(TooSmall())
        elif shown and not small:
            self.pop_screen()


def _is_away(error: Exception) -> bool:
    """Tells whether it passes by itself."""
    from joinder.store.driver_errors import passing
    from joinder.trouble import StoreTrouble

    return isinstance(passing(error), StoreTrouble)


def _code(error: Exception) -> int:
    from joinder.cli import EXIT_AWAY, EXIT_CONFIG, EXIT_FAILED
    from joinder.settings import ConfigError

    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_AWAY if _is_away(error) else EXIT_FAILED


def _closed(error: Exception) -> str:
    """Says why the store is not opened; a sentence where its database is in trouble."""
    from joinder.store.advice import trouble_of

    return trouble_of(error) or str(error) or type(error).__name__


def _trouble(error: Exception) -> str:
    """Makes a sentence without what may be secret in a driver's text."""
    from joinder.store.advice import trouble_of

    if isinstance(error, TimeoutError):
        return "The database does not answer; asking again."
    told = trouble_of(error) or f"The database cannot be read ({type(error).__name__})."
    return f"{told.rstrip('.')}; asking again."


def opening(settings: Settings) -> OpenHub:
    """Imports what it needs off the loop: it takes longer than the first paint may."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Hub]:
        open_hub = await asyncio.to_thread(_import)
        async with open_hub(settings) as hub:
            yield hub

    return opened


def _import() -> Callable[[Settings], AbstractAsyncContextManager[Hub]]:
    from joinder.runtime.hub import open_hub

    return open_hub
