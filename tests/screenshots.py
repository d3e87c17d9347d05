"""Pictures of every screen of the terminal, of the demo's store with a few enrollments broken by hand.

    make screenshots

Runs `joinder demo --once --days 31` in a folder of its own, which takes minutes, or takes the folder of a demo that has
ended (--demo), and changes what is in it; then writes docs/screenshots/SCREEN-SIZE-THEME.png, and beside each the SVG
it was drawn from when --svg is given.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import random
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import resvg_py
from joinder_tui.app import JoinderApp
from joinder_tui.pages import PAGES, Page
from PIL import Image
from sqlalchemy import delete, select
from textual.pilot import Pilot

from joinder.clock import now
from joinder.ids import next_id
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import flow_list, pausing, search
from joinder.services.calls.activity import KINDS
from joinder.services.events import webhooks
from joinder.services.grants import standing
from joinder.services.join import programs
from joinder.services.join.join_ends import ENDS
from joinder.settings import Settings, settings_from_env
from joinder.store.tables import (
    Breaker,
    Delivery,
    Enrollment,
    Event,
    GrantRow,
    JoinSession,
    SiteRow,
    Tally,
    WebhookEndpoint,
)

INTO = Path(__file__).parents[1] / "docs/screenshots"
SIZES = ((120, 36), (80, 24))
COLOURS = 128
DRAWN = {
    "Fira Code": "DejaVu Sans Mono",
    "font-size: 20px": "font-size: 21.6px",  # so high that blocks of two lines meet, as they do in a terminal
    "🔎": "⌕ ",  # which that font has
}
THEMES = ("textual-dark", "textual-light")
BROKEN = (
    ("needs_consent", "The vendor refused the refresh token twice, an hour apart."),
    ("operator_action", "The vendor refuses this app's credentials; they must be corrected first."),
    ("degraded", "GET monitoringapi.example/sites was cut off."),
)
STATUSES = ("enrolled", "enrolled", "enrolled", "pendingvendor", "applied", "applied", "rejected")
OUTCOMES = (  # of deliveries: state, tries, answer
    ("delivered", 1, 204),
    ("delivered", 2, 204),
    ("pending", 3, 503),
    ("delivered", 1, 204),
    ("failed", 10, 410),
)
LOST = ("session_expired", "session_expired", "user_denied", "consent_unusable", "app_refused")
STANDING = {4: "half-opened", 5: "opened"}  # of breakers, by vendor
SUNNY = "sunny"  # stands for the keys to the home whose day has the most to show
AFTERNOON = 17  # o'clock
STEPS: dict[str, tuple[str, ...]] = {
    **{page.name: (page.key,) for page in PAGES},
    "enrollment": ("2", SUNNY, "enter"),
    "day": ("2", SUNNY, "enter", "tab", "tab", "comma"),
    "month": ("2", SUNNY, "enter", "tab", "tab", "tab"),
    "help": ("2", "question_mark"),
    "palette": ("ctrl+p",),
    "confirm": ("2", "p"),
    "revoke": ("2", "d"),
    "link": ("2", "c"),
    "flow_form": ("3", "a"),
    "credential_form": ("4", "a"),
}


def run_demo(folder: Path) -> None:
    command = (sys.executable, "-m", "joinder", "demo", "--once", "--days", "31", "--folder", str(folder))
    subprocess.run(command, check=True, capture_output=True)


def settings_of(folder: Path) -> Settings:
    lines = (folder / "demo.env").read_text().splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    return settings_from_env({name: value.strip("'\"") for name, value in pairs})


async def break_some(hub: Hub) -> None:
    found = await search.page(hub, search.parse(""))
    async with hub.store.write() as session:
        for row, (state, reason) in zip(found, BROKEN, strict=False):
            enrollment = await session.get(Enrollment, row.id)
            if enrollment is not None:
                await standing.settle(hub, session, enrollment, state, reason=reason)  # type: ignore[arg-type]
        hour = now() - now() % 3600
        for vendor, at in itertools.product({row.vendor for row in found}, range(hour - 23 * 3600, hour, 3600)):
            for what, most in zip(KINDS, (14, 120, 3), strict=True):
                count = random.randint(0 if what == "failed" else most // 2, most)  # noqa: S311 - a picture
                await session.merge(Tally(hour=at, vendor=vendor, what=what, count=count))
    if found[-2].paused_at is None:
        await pausing.pause(hub, found[-2].account_id, found[-2].id, "demo")
    await deliver_some(hub)


@asynccontextmanager
async def answering(settings: Settings) -> AsyncIterator[Hub]:
    """A hub beside servers that say, as they do every minute, which vendor answers them."""
    async with open_hub(settings) as hub:
        found = sorted({row.vendor for row in await search.page(hub, search.parse(""))})
        async with hub.store.write() as session:
            for index, vendor in enumerate(found):
                for hook, state in (("fetch_site", "closed"), ("fetch_readings", STANDING.get(index, "closed"))):
                    told = {"since": now() - 260, "told_at": now()}
                    await session.merge(Breaker(process="a", vendor=vendor, hook=hook, state=state, **told))
        yield hub


async def surround(hub: Hub) -> None:
    """Adds what a demo has none of: a webhook, a programme with homes, owners who did not get through."""
    async with hub.store.read() as session:
        if (await session.execute(select(WebhookEndpoint))).first():  # of the run before, where a folder was named
            return
    found = await search.page(hub, search.parse(""))
    account_id, vendors = found[0].account_id, sorted({row.vendor for row in found})
    await webhooks.create(hub, account_id, "demo", url="https://hooks.example/joinder", types=[])
    program = await programs.create(hub, account_id, "demo", name="Summer peaks", vendors=vendors)
    flow = (await flow_list.flows(hub))[0].row
    async with hub.store.write() as session:
        for row, status in zip(found, STATUSES, strict=False):
            enrollment = await session.get(Enrollment, row.id)
            if enrollment is not None:
                enrollment.program_id, enrollment.status = program.id, status
        for grant in (await session.execute(select(GrantRow))).scalars():  # as after weeks beside a worker
            if grant.expires_at is not None and grant.expires_at < now() + 30 * 86400:  # no key, nor a token of a year
                grant.expires_at, grant.refresh_expires_at = now() + 7 * 3600, now() + 41 * 86400
                grant.refresh_count, grant.version = 23, 24
                grant.obtained_by, grant.obtained_at = "refresh", now() - 3600
        for number, code in enumerate(LOST):
            session.add(
                JoinSession(
                    token_hash=secrets.token_bytes(32),
                    account_id=account_id,
                    flow_id=flow.id,
                    vendor=flow.vendors[0]["vendor"],
                    cookie_hash=b"",
                    secrets_sealed=b"",
                    client_redirect_uri=flow.redirect_uri,
                    created_at=now() - 3600 * (number + 1),
                    expires_at=now() - 3600 * number,
                    ended_at=now() - 3600 * number,
                    end_code=code,
                    end_text=ENDS[code].text,
                    attempts=1 + number % 2,
                )
            )


async def deliver_some(hub: Hub) -> None:
    """Most of what happened has come to the webhook, some has not."""
    async with hub.store.write() as session:
        await session.execute(delete(Delivery))  # of the run before, where a folder was named
        endpoint = (await session.execute(select(WebhookEndpoint))).scalars().first()
        events = (await session.execute(select(Event).order_by(Event.id.desc()).limit(24))).scalars()  # type: ignore[attr-defined]
        for index, event in enumerate(events):
            state, attempts, answered = OUTCOMES[index % len(OUTCOMES)]
            session.add(
                Delivery(
                    id=next_id("dlvy"),
                    account_id=event.account_id,
                    endpoint_id=endpoint.id if endpoint else "",
                    event_id=event.id,
                    status=state,
                    attempts=attempts,
                    answered=answered,
                    created_at=event.at,
                    delivered_at=event.at + 1 if state == "delivered" else None,
                    due_at=now() + 600,
                )
            )


async def row_of_sunny(hub: Hub) -> int:
    """Finds the row of a home whose day, in its own zone, is nearest to the end of its afternoon."""
    found = await search.page(hub, search.parse(""))
    async with hub.store.read() as session:
        sites = {site.enrollment_id: site for site in (await session.execute(select(SiteRow))).scalars()}

    def hours_off(row: search.EnrollmentListRow) -> float:
        local = datetime.fromtimestamp(now(), ZoneInfo(sites[row.id].timezone or "UTC"))
        return abs(local.hour + local.minute / 60 - AFTERNOON) + (row.health != "ok")

    return min(range(len(found)), key=lambda index: hours_off(found[index]))


async def draw(settings: Settings, only: str | None, keep: Callable[[str, str], None]) -> None:
    async with open_hub(settings) as hub:
        await surround(hub)
        await break_some(hub)
        sunny = ("j",) * await row_of_sunny(hub)
    for size in SIZES:
        for theme in THEMES:
            for name, keys in STEPS.items():
                if only not in (None, name):
                    continue
                pressed = tuple(itertools.chain(*(sunny if key == SUNNY else (key,) for key in keys)))
                keep(f"{name}-{size[0]}x{size[1]}-{theme}", await picture(settings, size, theme, pressed))


async def picture(settings: Settings, size: tuple[int, int], theme: str, keys: tuple[str, ...]) -> str:
    app = JoinderApp(lambda: answering(settings))
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        await shown(app, pilot)
        for key in keys:
            await pilot.press(key)
            await shown(app, pilot)
        await pilot.pause(1.0)
        svg: str = app.export_screenshot(title="joinder tui")
        return svg


async def shown(app: JoinderApp, pilot: Pilot[Any]) -> None:
    await pilot.pause()
    while not any(isinstance(screen, Page) for screen in app.screen_stack) or any(
        not worker.is_finished for worker in app.workers if worker.group == "load"
    ):
        await asyncio.sleep(0.02)
    await pilot.pause()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--svg", action="store_true")
    parser.add_argument("--only", choices=STEPS, help="one screen")
    parser.add_argument("--demo", type=Path, help="the folder of a demo that has ended")
    asked = parser.parse_args()
    INTO.mkdir(parents=True, exist_ok=True)

    def keep(name: str, svg: str) -> None:
        if asked.svg:
            (INTO / f"{name}.svg").write_text(svg)
        plain = svg
        for written, drawn in DRAWN.items():
            plain = plain.replace(written, drawn)
        picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=plain))))
        picture.convert("RGB").quantize(COLOURS).save(INTO / f"{name}.png", optimize=True)
        print(name, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        if asked.demo is None:
            run_demo(Path(folder))
        settings = settings_of((asked.demo or Path(folder)).absolute())
        os.chdir(folder)
        asyncio.run(draw(settings, asked.only, keep))


if __name__ == "__main__":
    main()
