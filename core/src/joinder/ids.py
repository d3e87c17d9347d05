"""Public identifiers: a four-letter tag saying the kind, a dash, and 80 random bits as 16 characters of [a-z2-7]."""

from __future__ import annotations

import base64
import re
import secrets
from typing import Literal

Tag = Literal[
    "cred",
    "flow",
    "sess",
    "enrl",
    "site",
    "solr",
    "batt",
    "metr",
    "acct",
    "clnt",
    "evnt",
    "dkey",
    "jkey",
    "whep",
    "dlvy",
    "fill",
]
_SHAPE = re.compile(r"[a-z]{4}-[a-z2-7]{16}")


def new_id(tag: Tag) -> str:
    return f"{tag}-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"


def is_id(text: str, tag: Tag | None = None) -> bool:
    return bool(_SHAPE.fullmatch(text)) and (tag is None or text.startswith(f"{tag}-"))


def new_token() -> str:
    """256 random bits for URLs, cookies and client secrets."""
    return secrets.token_urlsafe(32)
