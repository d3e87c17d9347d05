"""An account's colour on our pages: moved until text on it, and it on the page, can be read in both themes."""

from __future__ import annotations

import colorsys

READABLE = 4.5  # WCAG 2.2, 1.4.3
_LIGHT, _DARK = "#ffffff", "#14181f"  # the pages of style.css
_STEP = 0.02


def stylesheet(colour: str) -> str:
    """Returns the rules that set the colour of what is pressed, for the light and the dark theme."""
    light, dark = readable(colour, _LIGHT), readable(colour, _DARK)
    return (
        f":root {{ --act: {light}; --on-act: {on(light)}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --act: {dark}; --on-act: {on(dark)}; }} }}\n"
    )


def readable(colour: str, page: str) -> str:
    """Moves the colour's lightness away from the page's until the contrast suffices; its hue stays."""
    red, green, blue = _channels(colour)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    step = -_STEP if _luminance(page) > 0.5 else _STEP
    found = colour
    while contrast(found, page) < READABLE and 0 <= lightness <= 1:
        lightness += step
        found = _hex(colorsys.hls_to_rgb(hue, min(max(lightness, 0.0), 1.0), saturation))
    return found


def on(colour: str) -> str:
    """Returns black or white, whichever is better read on the colour."""
    return max(("#ffffff", "#000000"), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Returns the contrast ratio of two colours (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _hex(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in channels)
