"""Letters as they are typed where there are no others: `mueller` and `muller` find Müller, in both databases."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Mapping

_SPELLED: Mapping[str, str] = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"}
_BARE: Mapping[str, str] = {"ß": "ss", "ø": "o", "å": "a", "æ": "ae", "œ": "oe", "đ": "d", "ł": "l", "ı": "i"}
_ACCENTED = "àáâãäåçćčďèéêëěğìíîïľĺñńňòóôõöőøŕřśšşťţùúûüůűýÿźżžđłı"
_SMALL = _ACCENTED.replace("ı", "") + "æœ"
_CAPITALS = _SMALL.upper()


def forms(text: str) -> tuple[str, ...]:
    """Returns a word in small letters, with umlauts spelled out and with every accent left away."""
    small = unicodedata.normalize("NFC", text).lower()
    if small.isascii():
        return (small,)
    return tuple(dict.fromkeys((_bare(_replaced(small, _SPELLED)), _bare(small))))


def folded(dialect: str, expression: str) -> str:
    """Makes an SQL expression that holds each of `forms` of a column, a line each."""
    if dialect == "sqlite":
        return f"folded({expression})"
    small = f"translate(lower({expression}), '{_CAPITALS}', '{_SMALL}')"  # lower() knows ASCII only in the C locale
    return f"({_bare_sql(_replaced_sql(small, _SPELLED))} || chr(10) || {_bare_sql(small)})"


def register(connection: sqlite3.Connection) -> None:
    """Gives SQLite the function `folded`."""
    connection.create_function("folded", 1, _lines, deterministic=True)


def _lines(text: object) -> str | None:
    return None if text is None else "\n".join(forms(str(text)))


def _bare(small: str) -> str:
    parts = unicodedata.normalize("NFD", _replaced(small, _BARE))
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _replaced(text: str, letters: Mapping[str, str]) -> str:
    return "".join(letters.get(letter, letter) for letter in text)


def _replaced_sql(expression: str, letters: Mapping[str, str]) -> str:
    for letter, spelled in letters.items():
        expression = f"replace({expression}, '{letter}', '{spelled}')"
    return expression


def _bare_sql(expression: str) -> str:
    several = {letter: spelled for letter, spelled in _BARE.items() if len(spelled) > 1}
    plain = "".join(_bare(letter)[:1] for letter in _ACCENTED)
    return f"translate({_replaced_sql(expression, several)}, '{_ACCENTED}', '{plain}')"
