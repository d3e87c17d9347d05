"""Takes secrets out of what is recorded, in both directions, before it is written.

Headers are kept by an allow list. Query, form and JSON members at any depth whose names speak of secrets lose their
values, and a value once seen is taken out wherever else it stands. The same secret always gets the same placeholder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

PLACEHOLDER = re.compile(r"SCRUBBED-\d+")
KEPT_HEADERS = ("content-type", "retry-after", "accept", "host")
_NAMES = re.compile(
    r"(?i)(?:token|secret|passw|(?:api|app|access|account)_?key|authorization|signature|session|cookie|client_?id|user_?name"
    r"|e_?mail|verifier|challenge|assertion|jwt|phone|street|address|^key$|^code$|^jti$)"
)
_IN_PAIRS = ("state", "external_id")  # of an authorization request; in JSON, `state` is a device's
_NOT_SECRET = ("token_type", "grant_type", "response_type", "code_challenge_method")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?")
_BOUNDARY = re.compile(r"boundary=\"?([\w'()+,./:=?-]+)\"?")
_LINK = re.compile(r"https?://[^\s?]+\?")
SHORTEST = 6  # shorter values (codes such as "0" or "200") are no secrets


class Scrubber:
    """One recording's: numbers placeholders by first appearance."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._placeholders: dict[str, str] = {}
        for value in (known or {}).values():
            self.value(value)

    def value(self, value: str) -> str:
        if len(value) < SHORTEST or PLACEHOLDER.fullmatch(value):
            return value
        return self._placeholders.setdefault(value, f"SCRUBBED-{len(self._placeholders) + 1}")

    def uri(self, uri: str) -> str:
        parts = urlsplit(uri)
        return self._known(urlunsplit(parts._replace(query=self._pairs(parts.query))))

    def headers(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Values are texts, or lists of texts as vcrpy keeps a response's: those may hand over a session's token."""
        kept = {name.lower(): value for name, value in headers.items() if name.lower() in KEPT_HEADERS}
        handed = {
            name.lower(): [self.value(one) for one in value]
            for name, value in headers.items()
            if isinstance(value, list) and "token" in name.lower()
        }
        if isinstance(kept.get("content-type"), str):
            kept["content-type"] = _BOUNDARY.sub("boundary=parts", kept["content-type"])
        return {
            name: [self._known(v) for v in value] if isinstance(value, list) else value
            for name, value in {**kept, **handed}.items()
        }

    def body(self, body: bytes, content_type: str) -> bytes:
        text = body.decode("utf-8", "replace")
        if boundary := _BOUNDARY.search(content_type):  # drawn anew for every request
            text = text.replace(boundary.group(1), "parts")
        if "x-www-form-urlencoded" in content_type:
            return self._known(self._pairs(text)).encode()
        try:
            return self._known(json.dumps(self._json(json.loads(text)))).encode()
        except ValueError:
            return self._known(text).encode()

    def _pairs(self, text: str) -> str:
        pairs = parse_qsl(text, keep_blank_values=True)
        return urlencode(
            [(name, self.value(value) if name in _IN_PAIRS else self._member(name, value)) for name, value in pairs]
        )

    def _json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._member(name, member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._json(member) for member in value]
        return value

    def _member(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and _NAMES.search(name) and name not in _NOT_SECRET:
            return self.value(value)
        if isinstance(value, str) and _LINK.match(value):
            return self.uri(value)  # a redirect URI may carry the state
        return self._json(value)

    def _known(self, text: str) -> str:
        for secret in sorted(self._placeholders, key=len, reverse=True):
            text = text.replace(secret, self._placeholders[secret])
        text = _JWT.sub(lambda found: self.value(found.group()), text)
        return _EMAIL.sub(lambda found: self.value(found.group()), text)


def masked(text: str) -> str:
    """Masks a text for comparing: every placeholder, and every value that would become one, is the same."""
    return PLACEHOLDER.sub("SCRUBBED", text)
