"""Owner pages in a real browser (`make pages`): axe over pages x themes x languages, widths, keyboard, pictures.

Chromium must be installed; playwright and axe come by `uv run --with`. What is found wrong is printed, and fails.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from axe_core_python.async_playwright import Axe
from msgspec.structs import replace
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from sqlalchemy import text

from api.fakes import BOXY, SUNNY, FakeVendor, Vendors
from joinder import errors
from joinder.api.app import create_app
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import join_flows, owner_links, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts, brands
from joinder.settings import Settings
from joinder.store.key_file import create_key_file

PORT, VENDOR_PORT = 18471, 18472
HERE = f"http://127.0.0.1:{PORT}"
INTO = Path(__file__).parents[1] / "docs/screenshots"
THEMES, LANGUAGES = ("light", "dark"), ("en", "de")
PICTURED = ("intro", "form-wrong", "connected", "connection")
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
ENTRIES = {"host": "192.0.2.9", "token": "a-token"}


class Stage:
    """One hub, its account and its flow, and everything an owner can meet there."""

    def __init__(self, hub: Hub, vendors: Vendors, flow_id: str, account_id: str) -> None:
        self.hub, self.vendors, self.flow_id, self.account_id = hub, vendors, flow_id, account_id

    def start(self, vendor: str | None, **query: str) -> str:
        pairs = "&".join(f"{name}={value}" for name, value in {"vendor": vendor, **query}.items() if value)
        return f"{HERE}/join/flows/{self.flow_id}/authorize?{pairs}"

    async def own_page(self) -> str:
        (row,) = await self.hub.store.rows("SELECT id FROM enrollment ORDER BY created_at LIMIT 1", {})
        return HERE + owner_links.path(self.hub, str(row[0]))


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    create_key_file(folder / "key")
    settings = Settings(
        database_url=f"sqlite:///{folder}/db",
        key_file=str(folder / "key"),
        public_url=HERE,
        port=PORT,
        reroute={"sunny.example": f"http://127.0.0.1:{VENDOR_PORT}"},
    )
    sunny = replace(SUNNY, label="Sunny Home")
    boxy = replace(BOXY, key_page="https://boxy.example/keys", consent_steps=("Open the app.", "Copy the token."))
    vendors = Vendors(sunny=FakeVendor(sunny), boxy=FakeVendor(boxy))
    async with open_hub(settings, vendors.registry()) as hub:
        account = await accounts.create_account(hub, "Helios Energy")
        await brands.change(hub, account.id, "test", colour="#d35400")
        app = {"vendor": "sunny", "type": "oauthclient", "clientID": "an-id", "clientSecret": "a-secret-of-the-app"}
        made = await vendor_credentials.create(hub, account.id, "test", name=None, credentials=app)
        offered = [FlowVendor(vendor="sunny", credentials_id=made.id), FlowVendor(vendor="boxy")]
        uri = "https://integrator.example/back"
        flow = await join_flows.create(hub, account.id, "test", vendors=offered, redirect_uri=uri)
        async with serving(create_app(hub), PORT), serving(vendor_app, VENDOR_PORT):
            yield Stage(hub, vendors, flow.id, account.id)


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    yield
    server.should_exit = True
    await task


async def vendor_app(scope: Any, receive: Any, send: Any) -> None:
    """Plays the vendor, who says yes at once."""
    if scope["type"] != "http":
        return
    state = parse_qs(scope["query_string"].decode()).get("state", [""])[0]
    location = f"{HERE}/join/sunny/auth-granted?state={state}&code=c".encode()
    await send({"type": "http.response.start", "status": 302, "headers": [(b"location", location)]})
    await send({"type": "http.response.body", "body": b""})


async def opened(browser: Browser, **options: Any) -> BrowserContext:
    return await browser.new_context(**options)


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
    await page.goto(await stage.own_page())
    yield "connection"
    await followed(page, "a.button.plain")
    yield "end"
    await page.goto(await stage.own_page())
    await followed(page, "main a[href*=receipt]")
    yield "receipt"
    await page.goto(stage.start("boxy"))
    yield "form"
    await page.fill("#host", "x")
    await followed(page, "button[value=connect]")
    yield "form-wrong"
    for error in (errors.ConsentDenied("no"), errors.ApprovalRefused("Only here"), errors.AppCredentialsRejected("x")):
        stage.vendors.sunny.failures["handle_callback"] = error
        await page.goto(stage.start("sunny"))
        await followed(page, "a[rel~=next]")
        stage.vendors.sunny.failures.clear()
        yield type(error).__name__
        async with stage.hub.store.write() as session:
            await session.execute(text("UPDATE vendor_credentials SET rejected_at = NULL, suspected_at = NULL"))
    for path in ("/join/reconnect?link=x", "/join/sunny/auth-granted?state=" + "A" * 43, "/", "/join/nothing"):
        await page.goto(HERE + path)
        yield path.strip("/").replace("/", "-").partition("?")[0] or "home"


async def looked_at(stage: Stage, browser: Browser) -> int:
    """Runs axe over every state, theme and language, and measures overflow at 320 px. Returns how many pages."""
    seen = 0
    for theme in THEMES:
        for language in LANGUAGES:
            options = {"color_scheme": theme, "locale": language, "viewport": {"width": 390, "height": 844}}
            context = await opened(browser, **options)
            page = await context.new_page()
            async for name in scenes(stage, page):
                where, seen = f"{name} {theme} {language}", seen + 1
                found = (await Axe().run(page, options=WCAG))["violations"]
                assert not found, (where, [(one["id"], [node["html"] for node in one["nodes"]]) for one in found])
                assert await page.evaluate("document.documentElement.lang") == language, where
                if name == "form-wrong":
                    assert await page.evaluate("document.activeElement.id") == "problem", where
                if name in PICTURED:
                    await page.screenshot(path=INTO / f"owner-{name}-{theme}-{language}.png", full_page=True)
                await page.set_viewport_size({"width": 320, "height": 640})
                assert await page.evaluate("document.documentElement.scrollWidth") <= 320, where
                await page.set_viewport_size({"width": 390, "height": 844})
            await context.close()
    return seen


async def walked(stage: Stage, browser: Browser) -> None:
    """Joins and ends it again with scripts off, by keyboard only, at 320 px."""
    context = await opened(browser, java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = await context.new_page()
    await page.goto(stage.start("sunny", state="s"))
    for _ in range(2):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/join/sessions/**")
    assert "is connected" in await page.inner_text("h1")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/join/connection?**")
    for _ in range(2):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/join/connection/end?**")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/join/connection/receipt?**")
    assert "withdrawn" in await page.inner_text("h1")
    await context.close()


async def main() -> None:
    INTO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with staged(Path(folder)) as stage, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            pages = await looked_at(stage, browser)
            await walked(stage, browser)
            await browser.close()
    sys.stdout.write(f"axe: 0 violations on {pages} pages (states x themes x languages); none wider than 320 px\n")
    sys.stdout.write("joined and withdrawn with scripts off, by keyboard, at 320 px\n")


if __name__ == "__main__":
    asyncio.run(main())
