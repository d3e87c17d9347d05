"""The terminal in a real terminal (tmux), beside a real server and a simulated vendor: a customer from first to last.

A flow is made by keys, its link goes to an owner's browser, the enrollment appears by itself; the vendor refuses the
key, the link for the owner repairs it. What the screen showed is printed (`pytest -s -m proof`).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest
from sqlmodel import select

from joinder.demo.owner import consent
from joinder.demo.processes import Process, environment, free_ports
from joinder.demo.processes import running as serving
from joinder.runtime.hub import open_hub
from joinder.services.grants.verdict import PROOF_AFTER
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import installed_simulators
from joinder.simulate.run import reroute_of, running
from joinder.store.key_file import create_key_file
from joinder.store.tables import GrantRow

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
BACK = "https://integrator.example/connected"
GIVES_UP_S = 60.0
SETTLES_S = 1.0  # the focus moves, and nothing on the screen tells in plain text
REFUSAL = {"fault": "answer", "status": 401, "body": '{"success":false,"code":"401","msg":"key refused"}'}


class Tmux:
    """One pane of a server of its own."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def open(self, command: str, env: dict[str, str]) -> None:
        pairs = [f"{name}={value}" for name, value in env.items()]
        options = [part for pair in pairs for part in ("-e", pair)]
        self._run("-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "32", *options, command)

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def typed(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def until(self, what: str | Callable[[str], bool], meanwhile: str = "") -> str:
        """The screen once it shows that; `meanwhile` is pressed at each look."""
        shows = (lambda text: what in text) if isinstance(what, str) else what
        until = time.monotonic() + GIVES_UP_S
        while time.monotonic() < until:
            text = self.screen()
            if shows(text):
                return text
            if meanwhile:
                self.keys(meanwhile)
            Event().wait(0.5)
        raise AssertionError(f"the screen never showed {what}:\n{self.screen()}")

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    opened = Tmux(tmp_path)
    yield opened
    opened.close()


def shown(heading: str, text: str) -> None:
    print(f"\n--- {heading}\n{text.rstrip()}")


async def settings_of(folder: Path, reroute: dict[str, str]) -> Settings:
    port, metrics_port = free_ports(2)
    create_key_file(folder / "joinder.key")
    settings = Settings(
        database_url=f"sqlite:///{folder}/joinder.sqlite3",
        key_file=str(folder / "joinder.key"),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        metrics_port=metrics_port,
        reroute=reroute,
        plugins=("joinder-solis",),
    )
    async with open_hub(settings) as hub:
        await accounts.create_account(hub, "Acme Energy")
    return settings


async def test_a_customer_from_first_to_last(tmp_path: Path, tmux: Tmux) -> None:
    (simulator,) = installed_simulators(("solis",))
    async with running([simulator]) as origins:
        settings = await settings_of(tmp_path, reroute_of([simulator], origins))
        async with serving([Process("server", ("serve",), settings, tmp_path)]):
            command = f"{sys.executable} -m joinder tui"
            tmux.open(command, {**environment(settings), "PATH": os.environ["PATH"], "TERM": "xterm-256color"})
            await asyncio.to_thread(through, tmux, dict(simulator.owner_form), origins["solis"], settings)


async def age_refusals(settings: Settings) -> None:
    """Lets five minutes pass in the store: one refusal proves nothing, a second one so much later does."""
    async with open_hub(settings) as hub, hub.store.write() as session:
        for grant in (await session.execute(select(GrantRow))).scalars():
            assert grant.denied_at is not None
            grant.denied_at -= int(PROOF_AFTER.total_seconds())


def through(tmux: Tmux, owner: dict[str, str], vendor: str, settings: Settings) -> None:
    public_url = settings.public_url
    shown("1. the first screen of an empty store", tmux.until("No enrollment yet"))
    flow_id = make_flow(tmux)
    link = f"{public_url}/join/flows/{flow_id}/authorize"
    tmux.keys("2")
    tmux.until("no enrollment: press 3")
    landed = asyncio.run(consent(link, until=BACK, entries=owner))
    joined = re.search(r"enrollmentID=(enrl-[a-z2-7]{16})", landed)
    assert joined is not None, landed
    text = tmux.until(lambda text: "● ok" in text and joined[1] in text)
    shown("3. the owner consented, and the enrollment is there without a key pressed", text)

    httpx.post(f"{vendor}/_faults", json=REFUSAL).raise_for_status()
    tmux.keys("l")
    tmux.until("◐ degraded")
    asyncio.run(age_refusals(settings))
    tmux.keys("l")
    shown("4. the vendor refuses the key, again after five minutes", tmux.until("▲ needs consent"))
    httpx.delete(f"{vendor}/_faults").raise_for_status()
    tmux.keys("Enter")
    shown("5. who must act, and the next step", tmux.until("Who must act"))
    tmux.keys("c")
    text = tmux.until("/join/reconnect?link=")
    shown("6. the link for the owner", text)
    asyncio.run(consent(reconnect_link(text, public_url), until=BACK, entries=owner))
    tmux.keys("Escape")
    text = tmux.until(lambda text: "● ok" in text and "by consent" in text)
    shown("7. repaired: the same enrollment, a new grant", text)
    assert joined[1] in text


def make_flow(tmux: Tmux) -> str:
    tmux.keys("3")
    tmux.until("a adds one")
    tmux.keys("a")
    tmux.until("Redirect URI")
    tmux.typed(BACK)
    tmux.until(BACK)
    tmux.keys("Tab")
    Event().wait(SETTLES_S)
    tmux.keys("Space")
    shown("2. a flow, by its form", tmux.until("▐✓▌ Solis"))
    tmux.keys("C-s")
    text = tmux.until(lambda text: bool(re.search(r"flow-[a-z2-7]{16}", text)) and "integrator.example" in text)
    found = re.search(r"flow-[a-z2-7]{16}", text)
    assert found is not None
    return found[0]


def reconnect_link(text: str, public_url: str) -> str:
    """It runs over several lines of the dialog."""
    after = text[text.index(public_url) :]
    joined = "".join(line.strip(" │") for line in after.splitlines()[:6])
    found = re.match(re.escape(public_url) + r"/join/reconnect\?link=[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", joined)
    assert found is not None, joined
    return found[0]
