"""Every kind of page that an owner can meet, at vendors made up for it: what seldom happens is looked at, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from msgspec.structs import replace
from playwright.async_api import Browser, Page
from sqlalchemy import text

from api.fakes import BOXY, SUNNY, FakeVendor, Vendors
from joinder import errors, virtual
from joinder.api.app import create_app
from joinder.demo.processes import free_ports
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import join_flows, owner_links, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts, brands
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from pages.chromium import NARROW, opened
from pages.lookout import THEMES, Lookout, Seen

INTO = Path(__file__).parents[2] / "docs/screenshots"
PICTURED = ("intro", "form-wrong", "connected", "connection")
PICTURE = {"width": 390, "height": 844}
LANGUAGES = ("en", "de")
BACK = "https://integrator.example/back"
STANDS = ("degraded", "needs_consent", "operator_action", "pending_approval")  # beside ok: how a connection can stand


class Stage:
    """One hub, its accounts and their flows, and everything an owner can meet there."""

    def __init__(self, hub: Hub, vendors: Vendors, flow_id: str, virtual_flow_id: str) -> None:
        self.hub, self.vendors, self._flow_id, self._virtual_flow_id = hub, vendors, flow_id, virtual_flow_id

    def start(self, vendor: str | None) -> str:
        flow_id = self._virtual_flow_id if vendor == "virtual" else self._flow_id
        query = f"?vendor={vendor}" if vendor else ""
        return f"{self.hub.settings.public_url}/join/flows/{flow_id}/authorize{query}"

    async def own_page(self) -> str:
        (row,) = await self.hub.store.rows("SELECT id FROM enrollment ORDER BY created_at LIMIT 1", {})
        return self.hub.settings.public_url + owner_links.path(self.hub, str(row[0]))

    async def sql(self, statement: str, **values: str) -> None:
        async with self.hub.store.write() as session:
            await session.execute(text(statement), values)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    create_key_file(folder / "key")
    port, vendor_port = free_ports(2)
    settings = Settings(
        database_url=f"sqlite:///{folder}/db",
        key_file=str(folder / "key"),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        reroute={"sunny.example": f"http://127.0.0.1:{vendor_port}"},
    )
    sunny = replace(SUNNY, label="Sunny Home", texts="pages")
    steps = ("Open the app.", "Copy the token.")
    boxy = replace(BOXY, key_page="https://boxy.example/keys", consent_steps=steps, texts="pages")
    vendors = Vendors(sunny=FakeVendor(sunny), boxy=FakeVendor(boxy))
    registry = vendors.registry()
    registry.add(virtual.NAME, virtual)
    async with open_hub(settings, registry) as hub:
        stage = Stage(hub, vendors, await _flow(hub), await _virtual_flow(hub))
        async with serving(create_app(hub), port), serving(says_yes(settings.public_url), vendor_port):
            yield stage


async def _flow(hub: Hub) -> str:
    account = await accounts.create_account(hub, "Helios Energy")
    await brands.change(hub, account.id, "test", colour="#d35400")
    app = {"vendor": "sunny", "type": "oauthclient", "clientID": "an-id", "clientSecret": "a-secret-of-the-app"}
    made = await vendor_credentials.create(hub, account.id, "test", name=None, credentials=app)
    offered = [FlowVendor(vendor="sunny", credentials_id=made.id), FlowVendor(vendor="boxy")]
    return (await join_flows.create(hub, account.id, "test", vendors=offered, redirect_uri=BACK)).id


async def _virtual_flow(hub: Hub) -> str:
    account = await accounts.create_account(hub, "Helios, virtual", mode="virtual")
    offered = [FlowVendor(vendor=virtual.NAME)]
    return (await join_flows.create(hub, account.id, "test", vendors=offered, redirect_uri=BACK)).id


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    yield
    server.should_exit = True
    await task


def says_yes(to: str) -> Any:
    """Plays the vendor, who says yes at once."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        state = parse_qs(scope["query_string"].decode()).get("state", [""])[0]
        location = f"{to}/join/sunny/auth-granted?state={state}&code=c".encode()
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", location)]})
        await send({"type": "http.response.body", "body": b""})

    return answer


async def followed(page: Page, selector: str) -> None:
    async with page.expect_navigation():
        await page.click(selector)


async def scenes(stage: Stage, page: Page) -> AsyncIterator[str]:
    """Brings the page into each state that an owner can meet, and names it."""
    await page.goto(stage.start(None))
    yield "choose"
    await page.goto(stage.start("sunny"))
    yield "intro"
    await followed(page, "a[rel~=next]")
    yield "connected"
    async for name in _connections(stage, page):
        yield name
    async for name in _forms(stage, page):
        yield name
    async for name in _refusals(stage, page):
        yield name
    for path in ("/join/reconnect?link=x", "/join/sunny/auth-granted?state=" + "A" * 43, "/", "/join/nothing"):
        await page.goto(stage.hub.settings.public_url + path)
        yield path.strip("/").replace("/", "-").partition("?")[0] or "home"
    await page.goto(stage.start("virtual"))
    await followed(page, "a[rel~=next]")
    yield "virtual"


async def _connections(stage: Stage, page: Page) -> AsyncIterator[str]:
    """The owner's own page, however the connection stands, and what leads on from there."""
    said = "UPDATE enrollment SET health = :health, health_reason = :reason"
    for health in STANDS:
        await stage.sql(said, health=health, reason="The vendor no longer accepts this consent")
        await page.goto(await stage.own_page())
        yield f"connection, {health}"
    await stage.sql(said, health="ok", reason="")
    await page.goto(await stage.own_page())
    yield "connection"
    await followed(page, "a.button.plain")
    yield "end"
    await page.goto(await stage.own_page())
    await followed(page, "main a[href*=receipt]")
    yield "receipt"


async def _forms(stage: Stage, page: Page) -> AsyncIterator[str]:
    await page.goto(stage.start("boxy"))
    yield "form"
    await page.fill("#host", "x")
    await followed(page, "button[value=connect]")
    yield "form-wrong"


async def _refusals(stage: Stage, page: Page) -> AsyncIterator[str]:
    for error in (errors.ConsentDenied("no"), errors.ApprovalRefused("Only here"), errors.AppCredentialsRejected("x")):
        stage.vendors.sunny.failures["handle_callback"] = error
        await page.goto(stage.start("sunny"))
        await followed(page, "a[rel~=next]")
        stage.vendors.sunny.failures.clear()
        yield type(error).__name__
        await stage.sql("UPDATE vendor_credentials SET rejected_at = NULL, suspected_at = NULL")


async def looked_at(browser: Browser, folder: Path) -> AsyncIterator[Seen]:
    """Judges every state in every language and theme at 320 px, and takes the pictures."""
    async with staged(folder) as stage:
        for language in LANGUAGES:
            async with opened(browser, locale=language, viewport=NARROW) as context:
                lookout, page = Lookout(context), await context.new_page()
                async for name in scenes(stage, page):
                    await lookout.judge(page, name, language)
                    if name == "form-wrong" and await page.evaluate("document.activeElement.id") != "problem":
                        lookout.wrong("the focus is not on the problem")
                    if name in PICTURED:
                        await pictured(page, f"{name}-{{}}-{language}")
                yield lookout.seen("states", language)


async def pictured(page: Page, name: str) -> None:
    """Takes a picture in each theme, of the width of a telephone."""
    await page.set_viewport_size(PICTURE)
    for theme in THEMES:
        await page.emulate_media(color_scheme=theme)
        await page.screenshot(path=INTO / f"owner-{name.format(theme)}.png", full_page=True)
    await page.set_viewport_size(NARROW)
