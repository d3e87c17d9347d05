"""The served terminal in a real browser: it draws for who started it, and answers no other origin and no other token.

The foreign page is of this machine too, at another port: to a browser the same site, whose requests carry the cookie.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.async_api import Browser, BrowserContext, Page, WebSocket

from pages.chromium import HERE, opened
from pages.lookout import Lookout
from tui.own_server import Served, started

GIVES_UP_S = 60.0
FIRST, SECOND = b"Renewals", b"no enrollment: press 3"  # what the first screen says, and the second
ENDED = b"The terminal has ended."  # what the page says below it
COLOURS_LEAST = 8  # of a screen with letters on it
WINDOW = {"width": 1200, "height": 800}
REFUSED = 403
TRY = """async ([kind, url]) => {
    const opens = (made, good, bad) => new Promise(done => {
        made[good] = () => done(true)
        made[bad] = () => done(false)
    })
    const answers = given => fetch(url, {credentials: "include", ...given}).then(() => true, () => false)
    if (kind === "websocket") return opens(new WebSocket(url), "onopen", "onclose")
    if (kind === "fetch") return answers({})
    if (kind === "blind fetch") return answers({mode: "no-cors"})
    const made = Object.assign(document.createElement(kind), {src: url})
    const loaded = opens(made, "onload", "onerror")
    document.body.append(made)
    return loaded
}"""
ASKED: Mapping[str, str] = {  # how a page asks → for what
    "websocket": "ws://{0}/ws?width=80&height=24",
    "fetch": "http://{0}/",
    "blind fetch": "http://{0}/static/js/textual.js",
    "script": "http://{0}/static/js/textual.js",
}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One row of the table: what was tried, whether it came of it what should, and else what did."""

    what: str
    faults: list[str]


async def tried(browser: Browser, folder: Path) -> AsyncIterator[Tried]:
    with started(folder) as served:
        async with opened(browser, viewport=WINDOW) as context:
            yield Tried(what="its own page draws, and takes keys", faults=await _own_page(context, served))
            async with foreign() as origin:
                for kind, faults in (await _from(context, origin, served)).items():
                    yield Tried(what=f"{kind} of another origin is refused", faults=faults)
        async with opened(browser, viewport=WINDOW) as context:
            for what, faults in (await _by_wrong_token(context, served)).items():
                yield Tried(what=f"{what} is refused", faults=faults)
        yield Tried(what="nothing is left running", faults=await _left(served))


async def _own_page(context: BrowserContext, served: Served) -> list[str]:
    """Opens the address that was printed; the page asks this machine alone, and says nothing on the console."""
    lookout = Lookout(context)
    page = await context.new_page()
    screen = Screen(page)
    await page.goto(served.url)
    for key, words in (("", FIRST), ("2", SECOND), ("q", ENDED), ("Enter", FIRST)):  # the last one begins it again
        if key:
            await page.keyboard.press(key)
        if not await screen.shows(words):
            lookout.wrong(f"after {key or 'nothing'} it never showed {words.decode()}")
    if "token" in page.url or "token" in await page.title():
        lookout.wrong("the window shows the token")
    if await page.evaluate(TRY, ["websocket", address("websocket", served)]) is not True:
        lookout.wrong("what is refused to others is refused to its own page, too")
    await page.close()
    return lookout.faults


async def _from(context: BrowserContext, origin: str, served: Served) -> dict[str, list[str]]:
    """Has a page of another origin ask, in the very browser that holds the token."""
    page = await context.new_page()
    await page.goto(origin)
    cookies = await context.cookies(served.origin)
    found: dict[str, list[str]] = {}
    for kind in ASKED:
        if not cookies:
            found[kind] = ["there is no cookie, so that this proves nothing"]
        for url in (address(kind, served), address(kind, served, served.token)):
            found.setdefault(kind, []).extend(await _asked(page, kind, url))
    await page.close()
    return found


async def _by_wrong_token(context: BrowserContext, served: Served) -> dict[str, list[str]]:
    """Asks from the right origin: what refuses a wrong token is a page there, too."""
    page = await context.new_page()
    wrong = served.token.swapcase()
    answer = await page.goto(f"{served.origin}/?token={quote(wrong)}")
    status = answer.status if answer else 0
    found = {"a wrong token": [] if status == REFUSED else [f"answered {status}"]}
    for name, token in (("no token", None), ("a wrong token", wrong)):
        found.setdefault(name, []).extend(await _asked(page, "websocket", address("websocket", served, token)))
    await page.close()
    return found


async def _asked(page: Page, kind: str, url: str) -> list[str]:
    return [f"{kind} was answered"] if await page.evaluate(TRY, [kind, url]) else []


def address(kind: str, served: Served, token: str | None = None) -> str:
    url = ASKED[kind].format(served.authority)
    return f"{url}{'&' if '?' in url else '?'}token={quote(token)}" if token else url


class Screen:
    """What the page was told to draw, and whether it did."""

    def __init__(self, page: Page) -> None:
        self._page, self._told = page, b""
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._received)

    def _received(self, frame: str | bytes) -> None:
        self._told += frame if isinstance(frame, bytes) else b""

    async def shows(self, words: bytes) -> bool:
        """Waits for the words to come, and for a picture with letters in it."""
        until = time.monotonic() + GIVES_UP_S
        while time.monotonic() < until:
            is_told = words in self._told or words.decode() in await self._page.inner_text("body")
            if is_told and await self._colours() >= COLOURS_LEAST:
                self._told = b""
                return True
            await asyncio.sleep(0.1)
        return False

    async def _colours(self) -> int:
        picture = Image.open(io.BytesIO(await self._page.screenshot())).convert("RGB")
        return len(picture.getcolors(picture.width * picture.height) or ())


@asynccontextmanager
async def foreign() -> AsyncIterator[str]:
    """Serves a blank page at another port; yields its origin."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = b"<!doctype html><title>Another</title><body></body>"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(page)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + page)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HERE, 0)
    async with server:
        yield f"http://{HERE}:{server.sockets[0].getsockname()[1]}/"


async def _left(served: Served) -> list[str]:
    until = time.monotonic() + GIVES_UP_S
    while served.children() and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return [f"processes {', '.join(served.children())}"] if served.children() else []
