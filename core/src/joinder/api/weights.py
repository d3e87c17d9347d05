"""What a caller likes, and how much: the weighted lists of Accept and Accept-Encoding (RFC 9110 §12.4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WEIGHT = re.compile(r"0?\.[0-9]{1,3}|0\.?|1(\.0{0,3})?")  # `.2`, too: Java's own client writes it


def listed(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Returns a list that may stand on several lines (RFC 9110 §5.3); None where there is none."""
    lines = [value for key, value in headers if key == name]
    return b", ".join(lines) if lines else None


def weights(accepted: str) -> dict[str, float]:
    """Returns the weight of each entry, in lower case and without its other parameters; 0 where it is no weight."""
    return dict(map(_weighed, accepted.lower().split(",")))


def _weighed(entry: str) -> tuple[str, float]:
    name, *parameters = (one.strip() for one in entry.split(";"))
    told = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    return name, float(told) if _WEIGHT.fullmatch(told) else 0.0
