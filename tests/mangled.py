"""Answers with one wrong place: what a plugin reads of a vendor must never end in a traceback."""

from __future__ import annotations

JUNK = (None, "", "x", "nan", True, -1, 0.5, 10**30, [], {}, [None], {"enwh": {}})


def mangled(body: object) -> list[object]:
    """The body with one place, at any depth, replaced by junk or taken out."""
    found: list[object] = list(JUNK)
    if isinstance(body, dict):
        for name, value in body.items():
            found.append({other: kept for other, kept in body.items() if other != name})
            found += [{**body, name: junk} for junk in mangled(value)]
    elif isinstance(body, list):
        for index, value in enumerate(body):
            found += [[*body[:index], junk, *body[index + 1 :]] for junk in mangled(value)]
    return found
