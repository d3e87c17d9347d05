"""Somebody at a keyboard, who has no mouse and no scripts: what Tab does not reach, or shows nobody, is not there."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image
from playwright.async_api import Page

from pages.lookout import Lookout

STOPS_MOST = 60  # of one page
PICTURES_MOST = 5  # of one focus
AROUND = 6  # pixels around an element that its ring of focus may take
CONTRAST = 3.0  # of WCAG 1.4.11 and 2.4.13, between what a pixel was and what it is in focus
FOCUS = """() => {
    const at = document.activeElement
    if (!at || at === document.body) return null
    const box = at.getBoundingClientRect()
    const around = [...at.getClientRects()].map(one => 2 * (one.width + one.height))
    return {
        id: at.id, tag: at.localName, name: at.getAttribute("name") ?? "", value: at.getAttribute("value") ?? "",
        text: (at.labels?.[0]?.innerText ?? at.innerText ?? "").trim(),
        x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height, perimeter: Math.max(...around),
        in_view: box.top > -1 && box.bottom < innerHeight + 1 || box.height > innerHeight && box.top < innerHeight,
    }
}"""


@dataclass(frozen=True, kw_only=True)
class Focus:
    """The element that the next key goes to."""

    id: str
    tag: str
    name: str
    value: str
    text: str
    x: float
    y: float
    width: float
    height: float
    perimeter: float
    in_view: bool

    def told(self) -> str:
        return f"{self.tag} “{self.text or self.name or self.id}”"


Wanted = Callable[[Focus], bool]


class Stuck(Exception):
    """The way of an owner ended before its end; the text says where."""


@dataclass
class Owner:
    page: Page
    lookout: Lookout
    keys: int = 0
    _seen: Image.Image | None = field(default=None, repr=False)

    async def opens(self, url: str) -> None:
        await self.page.goto(url)
        self._seen = None

    async def presses(self, key: str) -> None:
        self.keys += 1
        await self.page.keyboard.press(key)

    async def types(self, text: str) -> None:
        self.keys += len(text)
        await self.page.keyboard.type(text)

    async def goes_to(self, what: str, wanted: Wanted) -> Focus:
        """Presses Tab until it is there, and looks each time whether the focus can be seen. Raises Stuck."""
        met: list[str] = []
        while len(met) < STOPS_MOST:
            before = self._seen or await self._picture()
            await self.presses("Tab")
            focus = await self.focus()
            if focus is None:
                break
            self._seen = await self._judged(focus, before)
            if wanted(focus):
                return focus
            met.append(focus.told())
        raise Stuck(f"{self.page.url.split('?')[0]}: Tab never came to {what}, but to {', '.join(met) or 'nothing'}")

    async def follows(self, what: str, wanted: Wanted) -> None:
        """Goes there and presses Enter, which leads to another page. Raises Stuck."""
        await self.goes_to(what, wanted)
        async with self.page.expect_navigation():
            await self.presses("Enter")
        self._seen = None

    async def enters(self, name: str, text: str) -> None:
        """Goes to a field of a form and types into it, over what it holds; of a list it takes one. Raises Stuck."""
        focus = await self.focus()
        if focus is None or focus.name != name:
            focus = await self.goes_to(f"the field {name}", lambda focus: focus.name == name)
        if focus.tag != "select":
            await self.types(text)
            return
        for _ in range(STOPS_MOST):
            if await self.page.evaluate("document.activeElement.value") == text:
                return
            await self.presses("ArrowDown")
        raise Stuck(f"{name} has no entry {text}")

    async def focus(self) -> Focus | None:
        found = await self.page.evaluate(FOCUS)
        return Focus(**found) if found else None

    async def _picture(self) -> Image.Image:
        """Draws the whole page without the cursor, which blinks."""
        drawn = await self.page.screenshot(full_page=True, caret="hide")
        return Image.open(io.BytesIO(drawn)).convert("RGB")

    async def _judged(self, focus: Focus, before: Image.Image) -> Image.Image:
        """Returns a picture with the focus in it; a window under load may draw that a moment late."""
        if not focus.in_view:
            self.lookout.wrong(f"{focus.told()} has the focus out of the window")
        for _ in range(PICTURES_MOST):
            after = await self._picture()
            if changed_pixels(before, after, focus) >= focus.perimeter:
                return after
        self.lookout.wrong(f"nobody sees the focus on {focus.told()}")
        return after


def changed_pixels(before: Image.Image, after: Image.Image, focus: Focus) -> int:
    """Counts the pixels at an element that the focus changed enough to be seen."""
    area = (
        math.floor(focus.x) - AROUND,
        math.floor(focus.y) - AROUND,
        math.ceil(focus.x + focus.width) + AROUND,
        math.ceil(focus.y + focus.height) + AROUND,
    )
    pairs = zip(before.crop(area).getdata(), after.crop(area).getdata(), strict=True)
    return sum(one != other and contrast(one, other) >= CONTRAST for one, other in pairs)


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Returns the contrast ratio of two colours (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
