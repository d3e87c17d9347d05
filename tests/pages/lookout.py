"""What is wrong with a page, as axe, the window and the console tell it; of every page one browser context meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urlsplit

from axe_core_python.async_playwright import Axe
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

from pages.chromium import HERE

THEMES = ("light", "dark")
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
OF_THE_PAGE = ("data", "about", "blob")  # schemes that ask nobody
STATUS = "Failed to load resource: the server responded with a status of "
# Where scripts are off, timers are too, and axe, which is ours and not the page's, waits for some.
AT_ONCE = """
    window.setTimeout = (run, _, ...given) => { Promise.resolve().then(() => run?.(...given)); return 0 }
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One row of the table: `looks` are pages × themes, `faults` sentences, `violations` how many of them are axe's."""

    path: str
    language: str
    landing: str
    pages: int
    keys: int
    looks: int
    violations: int
    faults: list[str]


class Lookout:
    """Counts and remembers what it sees."""

    def __init__(self, context: BrowserContext) -> None:
        self._pages = self._looks = self._violations = 0
        self.faults: list[str] = []
        self._where = "at the beginning"
        self._documents: set[str] = set()
        context.on("request", self._asked)
        context.on("console", self._complained)
        context.on("weberror", lambda error: self.wrong(f"a script failed: {error.error}"))

    def wrong(self, what: str) -> None:
        self.faults.append(f"{self._where}: {what}")

    def seen(self, path: str, language: str, *, keys: int = 0, landing: str = "") -> Seen:
        return Seen(
            path=path,
            language=language,
            landing=landing,
            pages=self._pages,
            keys=keys,
            looks=self._looks,
            violations=self._violations,
            faults=self.faults,
        )

    async def judge(self, page: Page, where: str, language: str, themes: tuple[str, ...] = THEMES) -> None:
        """Looks at a page in each theme, and leaves it in the last of them."""
        self._where = where
        self._pages += 1
        for theme in themes:
            await page.emulate_media(color_scheme=theme)
            await self._axe(page, theme)
        width, room = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if width > room:
            self.wrong(f"{width} px wide in a window of {room}")
        if (spoken := await page.evaluate("document.documentElement.lang")) != language:
            self.wrong(f"speaks {spoken or 'no language'}")

    async def _axe(self, page: Page, theme: str) -> None:
        self._looks += 1
        await page.evaluate(AT_ONCE)
        for one in (await Axe().run(page, options=WCAG))["violations"]:
            self._violations += 1
            self.wrong(f"axe, {theme}: {one['id']} of {'; '.join(node['html'] for node in one['nodes'])}")

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        if request.is_navigation_request():
            self._documents.add(urldefrag(request.url).url)
        if address.hostname != HERE and address.scheme not in OF_THE_PAGE:
            self.wrong(f"asks {address.scheme}://{address.hostname}")

    def _complained(self, message: ConsoleMessage) -> None:
        """Takes down what it says, but for the status of a page that is there, such as of a form shown again."""
        about = urldefrag(message.location["url"]).url
        is_status = message.text.startswith(STATUS) and about in self._documents
        if message.type in ("error", "warning") and not is_status:
            self.wrong(f"on the console: {message.text} ({urlsplit(about).path})")


async def in_other_languages(page: Page, language: str) -> list[str]:
    """Returns the sentences that the page itself says are in another language than it is."""
    found: Any = await page.evaluate(
        "known => [...document.querySelectorAll('body [lang]')].filter(e => e.lang !== known).map(e => e.innerText)",
        language,
    )
    return list(found)
