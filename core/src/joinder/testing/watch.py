"""What a hook under test does beside answering: its calls, and whether it waits or blocks."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

BLOCKING = ("subprocess.Popen", "os.system", "os.posix_spawn", "urllib.Request")  # audit events
LONGEST_S = 30.0
PATIENT_S = 80.0  # within the deadline of a hook


@dataclass
class Call:
    """One call as the plugin asked for it; `sent` is everything in it, for looking for a secret.

    `told`: the body of its answer; None where there was none.
    """

    method: str
    url: str
    body: str
    sent: str
    told: bytes | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def what(self) -> tuple[str, str, str]:
        return self.method, self.url, self.body

    @property
    def place(self) -> str:
        """Without the query, which may hold a secret."""
        return f"{self.method} {urlsplit(self.url).hostname}{self.path}"


class Watched:
    """An Http or a device that notes its calls.

    `longest_s` caps their deadlines, for stand-ins that never answer. Without it a call has as long as a busy machine
    may need: what a check finds never depends on how fast the simulator answered.
    """

    def __init__(self, http: Any, calls: list[Call], longest_s: float | None) -> None:
        self._http = http
        self._calls = calls
        self._longest_s = longest_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    async def __aenter__(self) -> Watched:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.__aexit__(*error)

    async def request(self, method: str, url: str, **options: Any) -> Any:
        self._calls.append(call := _call(method, url, options))
        told = options.get("deadline", LONGEST_S)
        options["deadline"] = max(told, PATIENT_S) if self._longest_s is None else min(told, self._longest_s)
        answer = await self._http.request(method, url, **options)
        call.told = answer.content
        return answer


def _call(method: str, url: str, options: dict[str, Any]) -> Call:
    parts = urlsplit(url)
    query = urlencode(
        sorted([*parse_qsl(parts.query), *((name, str(v)) for name, v in (options.get("params") or {}).items())])
    )
    body = repr([options.get(name) for name in ("form", "content", "multipart")]) + _json(options.get("json"))
    sent = f"{url}?{query} {body} {options.get('headers')} {options.get('basic')}"
    return Call(method, parts._replace(query=query).geturl(), body, sent)


def _json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode("utf-8", "replace")


class _Listener(logging.Handler):
    """Keeps whatever is logged, at any level."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(self.format(record))


class listening:
    """Hears every logger at every level while the block runs."""

    def __init__(self, told: list[str]) -> None:
        self._handler = _Listener(told)
        self._level = logging.root.level

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.addHandler(self._handler)
        logging.root.setLevel(logging.DEBUG)

    def __exit__(self, *_: object) -> None:
        logging.root.removeHandler(self._handler)
        logging.root.setLevel(self._level)


class _Watch:
    """One for the process, as an audit hook cannot be taken back; it looks only while somebody waits for it."""

    def __init__(self) -> None:
        self.package = ""
        self.seen: list[str] = []
        self._is_installed = False

    def start(self, package: str) -> None:
        if not self._is_installed:
            self._is_installed = True
            sys.addaudithook(self._hear)
        self.package, self.seen = package, []

    def stop(self) -> None:
        self.package = ""

    def _hear(self, event: str, _: tuple[Any, ...]) -> None:
        if self.package and event in BLOCKING and self.is_plugin(sys._getframe(1)):
            self.seen.append(event)

    def notes(self, what: str, caller: FrameType) -> bool:
        """Tells whether the plugin itself does it."""
        is_told = bool(self.package) and self.is_plugin(caller, depth=1)
        if is_told:
            self.seen.append(what)
        return is_told

    def is_plugin(self, frame: FrameType | None, *, depth: int = 12) -> bool:
        """Tells whether code of the plugin, not of its simulator, is among the callers."""
        for _ in range(depth):
            if frame is None:
                return False
            name = str(frame.f_globals.get("__name__", ""))
            if name.partition(".")[0] == self.package and not name.rpartition(".")[2].startswith("simulator"):
                return True
            frame = frame.f_back
        return False


_watch = _Watch()


@contextmanager
def waiting(package: str) -> Iterator[list[str]]:
    """Collects what code of `package` waits for in the block: sleeps, which end at once, and what blocks the loop."""
    _watch.start(package)
    real_async, real_sync = asyncio.sleep, time.sleep

    async def async_sleep(delay: float, result: Any = None) -> Any:
        is_told = delay > 0 and _watch.notes(f"asyncio.sleep({delay:g})", sys._getframe(1))
        return await real_async(0 if is_told else delay, result)

    def sync_sleep(seconds: float) -> None:
        if not _watch.notes(f"time.sleep({seconds:g})", sys._getframe(1)):
            real_sync(seconds)

    loaded = [module for name, module in list(sys.modules.items()) if _may_sleep(name, package)]
    undo = [_replaced(module, real_async, async_sleep) for module in loaded]
    undo += [_replaced(module, real_sync, sync_sleep) for module in loaded]
    try:
        yield _watch.seen
    finally:
        for put_back in undo:
            put_back()
        _watch.stop()


def _may_sleep(module: str, package: str) -> bool:
    return module in ("asyncio", "asyncio.tasks", "time") or module.partition(".")[0] == package


def _replaced(module: Any, real: object, fake: object) -> Callable[[], None]:
    """Also where it was imported by name."""
    names = [name for name, value in vars(module).items() if value is real]
    for name in names:
        setattr(module, name, fake)

    def put_back() -> None:
        for name in names:
            setattr(module, name, real)

    return put_back
