"""Counts with their nouns, as people read them: 1 site, 2 sites."""

from __future__ import annotations


def several(noun: str) -> str:
    return f"{noun.removesuffix('y')}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else several(noun)}"
