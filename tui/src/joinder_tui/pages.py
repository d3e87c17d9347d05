"""What every screen is: crumbs above, hints below, and data in between that is asked for again every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.actions import parse
from textual.app import ComposeResult
from textual.screen import Screen
from textual.worker import Worker

from joinder_tui.acts import ACTS, acts_of
from joinder_tui.widgets.crumbs import Crumbs
from joinder_tui.widgets.doing import Deed, Doing
from joinder_tui.widgets.hints import Hints
from joinder_tui.widgets.notes import Notes
from joinder_tui.widgets.table import Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder_tui.app import JoinderApp

T = TypeVar("T")
WIDE = 160  # columns from which a picture has room beside a list
LOW, LOWEST = 30, 20  # rows below which only what is asked most is shown


@dataclass(frozen=True)
class MainPage:
    """One of the screens a digit leads to; its module is imported when it is first shown."""

    key: str
    name: str  # of the module in screens/
    label: str
    help: str
    twin: str

    def make(self) -> Screen[None]:
        module = import_module(f"joinder_tui.screens.{self.name}")
        return cast("Screen[None]", getattr(module, self.label.split()[0])())


PAGES: tuple[MainPage, ...] = (
    MainPage("1", "now", "Now", "Who needs whom now", "joinder status"),
    MainPage(
        "2",
        "enrollments",
        "Enrollments",
        "Every enrollment, its health, and what can be done",
        "joinder enrollments list",
    ),
    MainPage("3", "flows", "Flows", "Join flows, and the owners under way in them", "joinder flows list"),
    MainPage("4", "credentials", "Credentials", "Vendor app credentials and their quotas", "joinder credentials list"),
    MainPage("5", "vendors", "Vendors", "Installed plugins, and those that do not work", "joinder vendors"),
    MainPage("6", "webhooks", "Webhooks", "Endpoints, failed deliveries, replay", "joinder webhooks list"),
    MainPage("7", "events", "Events", "What happened, and who changed what", "joinder events list"),
    MainPage("8", "accounts", "Accounts", "Tenants and their API clients", "joinder accounts list"),
    MainPage("9", "keys", "Keys", "The keys that seal every secret, and their rotation", "joinder keys status"),
    MainPage("0", "programs", "Programs", "What enrollments are in, and what is to decide", "joinder programs list"),
)


class Page(Screen[None]):
    """`load` is the one query of a tick, `show` draws its answer; `name_in_crumbs` says where one is.

    `turn` counts the answers since everything was asked for: a screen of several parts asks for one of them a tick.
    """

    name_in_crumbs: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-usual"), (WIDE, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-lowest"), (LOWEST, "-low"), (LOW, "-high")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._loading: Worker[None] | None = None
        self.turn = 0

    @property
    def joinder(self) -> JoinderApp:
        return cast("JoinderApp", self.app)

    def compose(self) -> ComposeResult:
        yield Crumbs(PAGES)
        yield from self.body()
        yield Notes()
        yield Doing()
        yield Hints()

    def body(self) -> ComposeResult:
        raise NotImplementedError

    async def load(self, hub: Hub) -> Any:
        raise NotImplementedError

    def show(self, answer: Any) -> None:
        raise NotImplementedError

    @property
    def crumb(self) -> str:
        return self.name_in_crumbs

    def on_screen_resume(self) -> None:
        """Reloads, also the first time it is shown."""
        self.query_one(Crumbs).redraw()
        self.reload()

    def tick(self) -> None:
        """Asks nothing while the last question is not answered."""
        if self._loading is None or self._loading.is_finished:
            self.ask()

    def reload(self) -> None:
        """Loads everything, as after an act."""
        self.turn = 0
        self.ask()

    def ask(self) -> None:
        self._loading = self.run_worker(self._load, group="load", exclusive=True, exit_on_error=False)

    async def _load(self) -> None:
        answer = await self.joinder.asked(self.load)
        if answer is not None and self.is_attached:
            self.turn += 1
            self.show(answer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Darkens what changes anything in --readonly."""
        if self.joinder.readonly and any(
            act.changes and parse(act.action)[1:] == (action, parameters) for act in acts_of(self.BINDINGS)
        ):
            return None
        return True

    def choose(self, table: str, key: str) -> None:
        """Selects a row of one of its tables: what was just made, so that the next key is about it."""
        if self.is_attached:
            self.query_one(table, Table).choose(key)

    async def outcome(self, what: str, work: Callable[[Hub], Awaitable[object]]) -> str | None:
        """Makes one call of a service, shown while it takes: None when it went well, else the sentence."""
        task = asyncio.ensure_future(work(self.joinder.hub))
        self.joinder.deeds[task] = Deed(what)
        try:
            await task
        except asyncio.CancelledError:
            return f"{what}: not waited for any more. What a vendor was asked ends by itself."
        except Exception as error:  # noqa: BLE001 - a sentence, never a traceback
            return _sentence(what, error)
        finally:
            self.joinder.deeds.pop(task, None)
        return None

    def act(self, steps: Coroutine[Any, Any, None]) -> None:
        """Runs an act beside the screens: it may ask, take as long as a vendor takes, and outlive this one."""
        self.app.run_worker(steps, group=ACTS, exit_on_error=False)

    async def doing(self, what: str, work: Callable[[Hub], Awaitable[T]]) -> T | None:
        """Runs one call of a service, shown while it takes; a refusal becomes a sentence, and None."""
        answers: list[T] = []

        async def answered(hub: Hub) -> None:
            answers.append(await work(hub))

        problem = await self.outcome(what, answered)
        if problem is not None:
            self.app.notify(problem, severity="error", timeout=10)
        if self.is_attached:
            self.reload()
        return answers[0] if answers else None

    async def confirmed(self, question: str, touches: Sequence[str] = ()) -> bool:
        from joinder_tui.screens.confirm import Confirm

        answer: bool | None = await self.joinder.push_screen_wait(Confirm(question, touches))
        return bool(answer)

    async def confirmed_by_name(self, question: str, name: str, touches: Sequence[str] = ()) -> bool:
        from joinder_tui.screens.confirm import ConfirmByName

        answer: bool | None = await self.joinder.push_screen_wait(ConfirmByName(question, name, touches))
        return bool(answer)


def _sentence(what: str, error: Exception) -> str:
    from joinder.errors import VendorError
    from joinder.services.refusals import Refusal
    from joinder.store.advice import trouble_of

    if isinstance(error, Refusal):
        members = [f"{place.strip('/') or 'it'} {text}" for place, text in error.errors.items()]
        return f"{what}: " + ". ".join([error.detail.rstrip("."), *members]) + "."
    if isinstance(error, VendorError):
        return f"{what}: {error}."
    trouble = trouble_of(error)
    if trouble is not None:
        return f"{what}: {trouble}"
    return f"{what} failed ({type(error).__name__}). Look at the log of the server, or try again."
