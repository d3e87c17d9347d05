"""A system owner's browser without a window: keeps cookies, follows redirects and links on, fills in forms."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

MAX_HOPS = 12


class OwnerStuck(Exception):
    """The owner met a page that leads nowhere; the text is what it says."""


class Page(HTMLParser):
    """The first form of a page: where it goes, and what it already holds; and the link that leads on."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.onward: str | None = None
        self.values: dict[str, str] = {}
        self.heading = ""
        self._in_heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = given.get("action", "")
        elif tag in ("input", "textarea") and given.get("name"):
            self.values[given["name"]] = given.get("value", "")
        elif tag == "a" and "next" in given.get("rel", "").split() and self.onward is None:
            self.onward = given.get("href")
        self._in_heading = tag == "h1"

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.heading += data


async def consent(url: str, *, until: str, entries: Mapping[str, str]) -> str:
    """Goes from the operator's link to the integrator's redirect URI; answers that URL with its result."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as browser:
        answer = await browser.get(url)
        for _ in range(MAX_HOPS):
            page = Page("" if answer.is_redirect else answer.text)
            onward = answer.headers["location"] if answer.is_redirect else page.onward
            if onward is not None and (answer.is_redirect or answer.status_code == 200):
                target = urljoin(str(answer.url), onward)
                if target.startswith(until):
                    return target
                answer = await browser.get(target)
                continue
            if answer.status_code != 200 or page.action is None:
                raise OwnerStuck(f"{answer.status_code} {page.heading or answer.text[:100]}")
            action = urljoin(str(answer.url), page.action)
            answer = await browser.post(action, data={**page.values, **entries})
    raise OwnerStuck("too many pages")
