"""The languages of owner pages: a file each in `catalogues/`, and one in `texts/` of a plugin for its sentences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct

from joinder.vendor import Vendor

FOLDER = Path(__file__).parent / "catalogues"
FALLBACK = "en"
_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,32})?\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*")
_RANGES_MOST = 20


class Page(Struct, frozen=True):
    """What a page says: its title, what happened, what to do."""

    title: str
    happened: str
    todo: str


class Catalogue(Struct, frozen=True, kw_only=True):
    """One language. `texts`: sentences of our own code, as it raises them, and what they are here."""

    tag: str = FALLBACK
    language: str
    direction: str
    labels: Mapping[str, str]
    states: Mapping[str, str]
    revoked: Mapping[str, str]
    texts: Mapping[str, str]
    pages: Mapping[str, Page]

    def translated(self, text: str, vendor: Vendor | None = None) -> str | None:
        """Returns a sentence of our code or of a vendor in this language; None where nobody translated it."""
        if self.tag == FALLBACK:
            return text
        return self.texts.get(text) or (
            _texts_of(vendor.texts, self.tag).get(text) if vendor and vendor.texts else None
        )


@cache
def languages() -> Mapping[str, Catalogue]:
    """Reads every catalogue there is, by tag."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.toml"))}


def choose(asked: str | None, accepted: str | None) -> Catalogue:
    """Returns the language of `ui_locales` (OpenID Connect: best first, by blanks), else of Accept-Language."""
    known = languages()
    wanted = [*(asked or "").split()[:_RANGES_MOST], *_by_quality(accepted or "")]
    tags = (tag.split("-")[0].lower() for tag in wanted)
    return known[next((tag for tag in tags if tag in known), FALLBACK)]


def known_locale(asked: str | None) -> str | None:
    """Returns the tag that `ui_locales` comes down to here; None where nothing of it is known."""
    tags = (tag.split("-")[0].lower() for tag in (asked or "").split()[:_RANGES_MOST])
    return next((tag for tag in tags if tag in languages()), None)


def _by_quality(accepted: str) -> list[str]:
    """Reads Accept-Language (RFC 9110 §12.5.4), the most wanted first; what is malformed is left out."""
    found = list(_ranges(accepted))
    return [tag for _, tag in sorted(found, key=lambda one: -one[0])]


def _ranges(accepted: str) -> Iterator[tuple[float, str]]:
    for part in accepted[:1000].split(",")[:_RANGES_MOST]:
        match = _RANGE.fullmatch(part)
        quality = float(match[2] or 1) if match else 0.0
        if match and quality > 0:
            yield quality, match[1]


def _read(path: Path) -> Catalogue:
    said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    pages = {code: Page(**page) for code, page in said.pop("pages").items()}
    return Catalogue(tag=path.stem, pages=pages, **said)


@cache
def _texts_of(package: str, tag: str) -> Mapping[str, str]:
    """Reads what a plugin's package says of its own sentences in this language; nothing where it has no such file."""
    try:
        return tomllib.loads((resources.files(package) / "texts" / f"{tag}.toml").read_text(encoding="utf-8"))
    except (OSError, ModuleNotFoundError, tomllib.TOMLDecodeError):
        return {}
