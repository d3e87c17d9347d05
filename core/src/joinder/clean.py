"""Cleans text that others named, so that it neither steers nor misleads who shows it.

Vendors, owners and tenants name sites, devices, accounts, credentials and reasons. A terminal obeys what some letters
of a name say (move the cursor, set the title, fill the clipboard), and a reader is misled by those that nobody sees.
Each such letter becomes one visible REPLACEMENT CHARACTER; every other text is returned as it is, the same object,
after one regex search. Markup (Rich, Textual, HTML) is another matter: whoever draws escapes that of his own drawing.

Cleaned: C0 and C1 controls with ESC and DEL, bidirectional marks, overrides and isolates, letters without a width
(joiners, soft hyphen, byte order mark, fillers, tags, variation selectors beyond the emoji's), line and paragraph
separators, annotations, lone surrogates, noncharacters.
"""

from __future__ import annotations

import re

MARK = "\N{REPLACEMENT CHARACTER}"

_MISLEADING = (
    "\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_LINE = re.compile(f"[\x00-\x1f{_MISLEADING}]")
_IN_TEXT = re.compile(f"\r\n|[\x00-\x08\x0b-\x1f{_MISLEADING}]")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # also as wide letters
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
_IN_JSON = re.compile(f"[{_MISLEADING}]")


def clean_line(text: str) -> str:
    """Cleans what stands in one line: line ends and tabs are replaced as well."""
    return text if _IN_LINE.search(text) is None else _IN_LINE.sub(MARK, text)


def clean_text(text: str) -> str:
    """Cleans what may have lines and tabs of its own; a line ends with a line feed."""
    if _IN_TEXT.search(text) is None:
        return text
    return _IN_TEXT.sub(lambda found: "\n" if found[0] == "\r\n" else MARK, text)


def clean_cell(text: str) -> str:
    """Cleans a cell of a table that a spreadsheet may open: one that it would take for a formula gets an apostrophe."""
    text = clean_line(text)
    is_formula = _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
    return f"'{text}" if is_formula else text


def clean_json(text: str) -> str:
    r"""Writes the same letters as \uXXXX in encoded JSON, which decodes to the same value."""
    return text if _IN_JSON.search(text) is None else _IN_JSON.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
