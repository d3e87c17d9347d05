"""The browser of this machine, which reaches 127.0.0.1 and nothing else; playwright comes by `uv run --with`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, async_playwright

PROGRAM = "/usr/bin/chromium"
HERE = "127.0.0.1"
# The terminal draws by WebGL, which a machine without a graphics card has by software alone.
ARGUMENTS = ("--no-sandbox", "--enable-unsafe-swiftshader", f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {HERE}")
NARROW = {"width": 320, "height": 640}  # the width of WCAG 1.4.10


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Opens a window that knows nothing of the others: no cookie, no cache."""
    context = await browser.new_context(**options)
    try:
        yield context
    finally:
        await context.close()
