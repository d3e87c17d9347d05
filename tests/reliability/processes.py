"""Joinder's own processes, many of them: forked from one that has imported everything, as a start from nothing costs
seconds of CPU. Each then runs `joinder.runtime.serve.work`, signal handlers and all, with the template vendor
registered.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

import joinder
from joinder.settings import Settings
from joinder.vendors.registry import Registry

WAIT_S = 0.01


class Order(msgspec.Struct, kw_only=True):
    """One process to start. `die_at` names a point of kill_points.py; its output goes to `log`."""

    number: int
    settings: Settings
    log: str
    die_at: str = ""


class Ended(msgspec.Struct):
    """As subprocess tells it: negative is the signal that killed it."""

    number: int
    code: int


class Begun(msgspec.Struct):
    number: int
    pid: int


class _Told(msgspec.Struct):
    begun: Begun | None = None
    ended: Ended | None = None


def template_registry() -> Registry:
    """The vendor that `joinder new-vendor` writes, and no other."""
    source = str(Path(joinder.__file__).parent / "templates/vendor/src")
    if source not in sys.path:
        sys.path.insert(0, source)
    registry = Registry()
    assert registry.add("acme", importlib.import_module("joinder_acme")).problem is None
    return registry


class Worker:
    """A process that works on what is due. `wait` raises TimeoutError when it does not end in time."""

    def __init__(self, nursery: Nursery, number: int, pid: int) -> None:
        self._nursery = nursery
        self.number = number
        self.pid = pid

    def signal(self, how: signal.Signals) -> None:
        if self.number not in self._nursery.ended:
            os.kill(self.pid, how)

    def ended(self) -> bool:
        self._nursery.listen(0)
        return self.number in self._nursery.ended

    def wait(self, timeout_s: float) -> int:
        for _ in range(int(timeout_s / WAIT_S) + 1):
            if self.ended():
                return self._nursery.ended[self.number]
            self._nursery.listen(WAIT_S)
        raise TimeoutError(f"process {self.pid} still runs")


class Nursery:
    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout
        self._folder = folder
        self._numbers = itertools.count()
        self._begun: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._stdout, selectors.EVENT_READ)

    def worker(self, settings: Settings, *, die_at: str = "") -> Worker:
        number = next(self._numbers)
        order = Order(number=number, settings=settings, log=str(self._folder / f"{number}.log"), die_at=die_at)
        self._stdin.write(msgspec.json.encode(order) + b"\n")
        self._stdin.flush()
        while number not in self._begun:
            self.listen(60)
        return Worker(self, number, self._begun[number])

    def log(self, worker: Worker) -> str:
        return (self._folder / f"{worker.number}.log").read_text()

    def listen(self, timeout_s: float) -> None:
        while self._ready.select(timeout_s):
            line = self._stdout.readline()
            assert line, "the nursery has ended"
            told = msgspec.json.decode(line, type=_Told)
            if told.begun is not None:
                self._begun[told.begun.number] = told.begun.pid
            if told.ended is not None:
                self.ended[told.ended.number] = told.ended.code
            timeout_s = 0

    def end(self) -> None:
        """Whatever still runs is killed, and waited for."""
        self.listen(0)
        for number, pid in self._begun.items():
            if number not in self.ended:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._stdin.close()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        made = Nursery(process, folder)
        try:
            yield made
        finally:
            made.end()
            process.wait(30)


def _run(order: Order) -> None:
    """In the child."""
    from joinder.observe import logs
    from joinder.runtime import hub, serve
    from reliability import kill_points

    logs.configure("INFO", "text")
    registry = template_registry()
    hub.Registry.load = lambda **_: registry  # type: ignore[method-assign, assignment]
    if order.die_at:
        kill_points.POINTS[order.die_at].arm()
    asyncio.run(serve.work(order.settings))


def _begin(order: Order) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        _run(order)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _tell(told: _Told) -> None:
    with suppress(BrokenPipeError):
        os.write(1, msgspec.json.encode(told) + b"\n")


def _reap() -> int:
    """How many children are left."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return len(_numbers)
            _tell(_Told(ended=Ended(_numbers.pop(pid), os.waitstatus_to_exitcode(status))))
    except ChildProcessError:
        return 0


_numbers: dict[int, int] = {}


def _nurse() -> None:
    """One order a line; ends with its input, once its children have ended."""
    ready, got, open_input = selectors.DefaultSelector(), b"", True
    ready.register(0, selectors.EVENT_READ)
    while _reap() or open_input:
        if not open_input:
            ready.select(WAIT_S)
            continue
        if not ready.select(WAIT_S):
            continue
        data = os.read(0, 65536)
        if not data:
            open_input = False
            ready.unregister(0)
            continue
        *lines, got = (got + data).split(b"\n")
        for line in lines:
            order = msgspec.json.decode(line, type=Order)
            pid = _begin(order)
            _numbers[pid] = order.number
            _tell(_Told(begun=Begun(order.number, pid)))


def _import_everything() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    template_registry()
    for module in ("runtime.serve", "runtime.work_queue_postgres", "store.sqlite", "store.postgres", "store.migrate"):
        importlib.import_module(f"joinder.{module}")
    importlib.import_module("reliability.kill_points")
    importlib.import_module("pgqueuer.adapters.inmemory")


if __name__ == "__main__":
    _import_everything()
    _nurse()
