"""Takes secrets out of text, by value and by shape.

By value: every live `Secrets` mapping (grants.py) is remembered weakly, so whatever secret is in memory is masked.
By shape: JWTs, bearer and basic headers, and the query or form parameters that carry secrets.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "[redacted]"

_BY_THEMSELVES = (
    (re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
)
_SHAPES = (
    *_BY_THEMSELVES,
    (
        re.compile(
            r"(?i)(\b(?:\w*token|\w*secret|\w*password|code|code_verifier|state|key|api_?key|username|session_?id"
            r"|authorization)[\\\"']*\s*[=:]\s*b?[\\\"']*)[^\s\\\"'&,;}]{4,}"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)(\bcookie[\\\"']*\s*[=:]\s*)(?:b?\"[^\"]*\"|b?'[^']*'|[^\r\n]+)"), rf"\1{MASK}"),
)
_LITERAL = (
    re.compile(
        r"(?i)(\b\w*(?:token|secret|password|passwd|key|cookie|session|authorization|code|verifier|credential)\w*"
        r"[\"']?\]?\s*[=:,]\s*[a-z]{0,2})([\"'])(?:(?!\2)[^{}]){4,}\2"
    ),
    rf"\1\2{MASK}\2",
)


class Secrets(Mapping[str, str]):
    """Read-only mapping of secret values whose repr, str and format show names only."""

    __slots__ = ("__weakref__", "_values", "forms")

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        if not all(isinstance(value, str) for value in self._values.values()):
            raise TypeError("every secret is a str")
        self.forms = frozenset(form for value in self._values.values() for form in _forms(value))
        _live.add(self)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and self._values == other._values

    __hash__ = object.__hash__

    def __reduce__(self) -> NoReturn:
        raise TypeError("Secrets are never pickled or deep-copied")

    def __repr__(self) -> str:
        return f"Secrets({', '.join(f'{name}={MASK}' for name in self._values)})"


_live: weakref.WeakSet[Secrets] = weakref.WeakSet()


def redact(text: str) -> str:
    """Returns the text without any live secret value and without anything of a secret's shape."""
    return _without(text, _SHAPES)


def redact_code(line: str) -> str:
    """Does the same for a line of source, in which `token = await fetch(…)` is no secret, but what stands in quotes."""
    return _without(line, (*_BY_THEMSELVES, _LITERAL))


def _without(text: str, shapes: Iterable[tuple[re.Pattern[str], str]]) -> str:
    found = {form for secrets in tuple(_live) for form in secrets.forms if form in text}
    for form in sorted(found, key=len, reverse=True):  # a secret may begin like another, longer one
        text = text.replace(form, MASK)
    for shape, replacement in shapes:
        text = shape.sub(replacement, text)
    return text


def _forms(value: str) -> tuple[str, ...]:
    """Returns a value as it is, and as it stands in URLs and in one line of a repr."""
    return () if len(value) < 6 else (value, quote(value, safe=""), quote_plus(value), repr(value)[1:-1])
