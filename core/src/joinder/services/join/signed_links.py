"""Links that say what they are for, under an HMAC: nothing of them is stored, nothing of them can be changed.

What a link says is in its query, which access logs leave out.
"""

from __future__ import annotations

import base64
import hmac
from typing import TypeVar

import msgspec

from joinder.runtime.hub import Hub

MAX_LENGTH = 4096
S = TypeVar("S", bound=msgspec.Struct)


class BadLink(Exception):
    """Not made here, made for something else, or changed."""


def signed(hub: Hub, purpose: str, content: msgspec.Struct) -> str:
    """Returns the text of a link that says `content`. A purpose begins as no client secret does: they share a key."""
    plain = base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")
    return f"{plain}.{_signature(hub, purpose, plain).decode()}"


def read(hub: Hub, purpose: str, text: str, into: type[S]) -> S:
    """Returns what an untouched link says. Raises BadLink."""
    plain, _, signature = text.rpartition(".")
    if len(text) > MAX_LENGTH or not hmac.compare_digest(_signature(hub, purpose, plain), signature.encode()):
        raise BadLink
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(plain + "=="), type=into)
    except (msgspec.DecodeError, ValueError):
        raise BadLink from None


def _signature(hub: Hub, purpose: str, plain: str) -> bytes:
    return base64.urlsafe_b64encode(hub.vault.fingerprint(f"{purpose} {plain}")).rstrip(b"=")
