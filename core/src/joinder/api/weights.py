"""What a caller likes, and how much: the weighted lists of Accept and Accept-Encoding (RFC 9110 §12.4.2)."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def weights(accepted: str) -> dict[str, float]:
    """Returns the weight of each entry, in lower case and without its other parameters; 0 where it is no weight."""
    return dict(map(_weighed, accepted.lower().split(",")))


def _weighed(entry: str) -> tuple[str, float]:
    name, *parameters = (one.strip() for one in entry.split(";"))
    told = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    return name, float(told) if _WEIGHT.fullmatch(told) else 0.0
