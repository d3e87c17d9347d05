"""Themes by plain names, beside Textual's own: light, dark, high-contrast, and ansi (sixteen colours)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

_NAMES = {"light": "textual-light", "dark": "textual-dark", "ansi": "ansi-dark"}
_HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#ffff00",
    warning="#ffff00",
    error="#ff6060",
    success="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    boost="#202020",
    text_alpha=1.0,
    variables={
        "text-muted": "#ffffff",
        "block-cursor-foreground": "#000000",
        "block-cursor-background": "#ffff00",
        "footer-key-foreground": "#ffff00",
    },
)


def own() -> Iterator[Theme]:
    """Yields the themes to register."""
    for name, builtin in _NAMES.items():
        if builtin in BUILTIN_THEMES:
            yield replace(BUILTIN_THEMES[builtin], name=name)
    yield _HIGH_CONTRAST
