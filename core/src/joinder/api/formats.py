"""In which format an answer is wanted, by `Accept`; and intervals as CSV and as JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from joinder.api.weights import weights

JSON, CSV, LINES = "application/json", "text/csv", "application/x-ndjson"
LISTED = {"scope": "read:sites", "list": True}  # `opt` of lists: they only read, and go the short way (short_way.py)
INTERVALS = {"scope": "read:sites", "formats": (JSON, CSV, LINES)}  # `opt` of their operations
WHOLE = 100_000  # entries of an answer that is a file: all of the range, which is bounded by its level


def chosen(accept: str, offered: Sequence[str]) -> str | None:
    """Returns the format that is liked best (RFC 9110 §12.5.1), the first of equals; None: none is acceptable."""
    weighed = weights(accept)
    liked = {name: _weight(name, weighed) for name in offered}
    best = max(offered, key=lambda name: liked[name])
    return best if liked[best] > 0 else None


def _weight(name: str, weighed: dict[str, float]) -> float:
    kind = name.partition("/")[0]
    return next((weighed[one] for one in (name, f"{kind}/*", "*/*", "*") if one in weighed), 0.0)


def written(rows: Sequence[Struct], row_type: type[Struct], media_type: str) -> bytes:
    """Writes rows in a format of lines: a JSON object each, or CSV with a head; what is unknown is empty."""
    if media_type == LINES:
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    fields = [field.encode_name for field in msgspec.structs.fields(row_type) if field.name != "provenance"]
    names = ["start", "end", *(name for name in fields if name not in ("start", "end"))]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    told: list[dict[str, Any]] = msgspec.to_builtins(list(rows))
    writer.writerows(told)
    return out.getvalue().encode()
