"""Links that say what they are for, under an HMAC: nothing of them is stored, nothing of them can be changed.

What a link says is in its query, which access logs leave out. Links that were made with an earlier pepper work until
it ends.
"""

from __future__ import annotations

import base64
import hmac
from typing import TypeVar

import msgspec

from joinder.runtime.hub import Hub
from joinder.store.vault import PEPPER, SYSTEM

MAX_LENGTH = 4096
S = TypeVar("S", bound=msgspec.Struct)


class BadLink(Exception):
    """Not made here, made for something else, or changed."""


async def know_keys(hub: Hub) -> None:
    """Looks now and then at what links are signed with: before links are made or read."""
    if not hub.vault.is_unlocked(SYSTEM, PEPPER):
        async with hub.store.read() as session:
            await hub.vault.know_peppers(session)


def signed(hub: Hub, purpose: str, content: msgspec.Struct) -> str:
    """Returns the text of a link that says `content`. A purpose begins as no client secret does: they share a key."""
    plain = base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")
    return f"{plain}.{_signatures(hub, purpose, plain)[0].decode()}"


def read(hub: Hub, purpose: str, text: str, into: type[S]) -> S:
    """Returns what an untouched link says. Raises BadLink."""
    plain, _, signature = text.rpartition(".")
    if len(text) > MAX_LENGTH:
        raise BadLink
    fits = [hmac.compare_digest(each, signature.encode()) for each in _signatures(hub, purpose, plain)]
    if not any(fits):
        raise BadLink
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(plain + "=="), type=into)
    except (msgspec.DecodeError, ValueError):
        raise BadLink from None


def _signatures(hub: Hub, purpose: str, plain: str) -> list[bytes]:
    return [base64.urlsafe_b64encode(each).rstrip(b"=") for each in hub.vault.signatures(f"{purpose} {plain}")]
