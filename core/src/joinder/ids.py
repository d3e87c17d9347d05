"""Public identifiers: a four-letter tag saying the kind, a dash, and 80 bits as 16 characters of [a-z2-7].

The bits are random; those of events and deliveries begin with their time, so that one second's keep their order.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Literal

from joinder import clock

Tag = Literal[
    "cred",
    "flow",
    "sess",
    "enrl",
    "site",
    "solr",
    "batt",
    "metr",
    "chrg",
    "acct",
    "clnt",
    "evnt",
    "dkey",
    "jkey",
    "whep",
    "dlvy",
    "fill",
    "prog",
]
_IN_ORDER = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "234567abcdefghijklmnopqrstuvwxyz")
_TIME_BITS, _RANDOM_BITS = 54, 26  # a quarter of a microsecond, which is what a float of seconds can tell, until 2112
_LAST = [0]  # the time in the last one
_SHAPE = re.compile(r"[a-z]{4}-[a-z2-7]{16}")


def id_pattern(tag: Tag) -> str:
    """Returns the regular expression of ids of this kind, in the dialect of JSON Schema too."""
    return f"^{tag}-[a-z2-7]{{16}}$"


def new_id(tag: Tag) -> str:
    return f"{tag}-{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"


def next_id(tag: Literal["evnt", "dlvy"]) -> str:
    """Makes an id greater than those this process made before, also where the clock stands still or is put back.

    It is for rows that are told in the order in which they came to be.
    """
    moment = _LAST[0] = max(int(clock.civil_time() * 4_000_000), _LAST[0] + 1)
    bits = (moment << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)) & (1 << _TIME_BITS + _RANDOM_BITS) - 1
    return f"{tag}-{base64.b32encode(bits.to_bytes(10, 'big')).decode().lower().translate(_IN_ORDER)}"


def is_id(text: str, tag: Tag | None = None) -> bool:
    return bool(_SHAPE.fullmatch(text)) and (tag is None or text.startswith(f"{tag}-"))


def new_token() -> str:
    """Makes 256 random bits for URLs, cookies and client secrets."""
    return secrets.token_urlsafe(32)
