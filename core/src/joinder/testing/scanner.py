"""Finds secrets in files by what they look like. Knows nothing of the scrubber: shapes of tokens, and entropy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SHAPES = {
    "a JWT": re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),
    "a region-prefixed token": re.compile(r"\b(?:NA|EU|CN)_[0-9a-f]{24,}\b"),
    "a bearer or basic header": re.compile(r"(?i)\b(?:bearer|basic) +(?!SCRUBBED)[\w.~+/=-]{16,}"),
    "a private key": re.compile(r"-----BEGIN (?:\w+ )*PRIVATE KEY-----"),
    "a key in a query": re.compile(r"(?i)[?&](?:api_?key|key|token|code|state|secret)=(?!SCRUBBED)[\w.%~-]{12,}"),
}
_WORD = re.compile(r"[A-Za-z0-9_+=-]{28,}")
ENTROPY = 4.0  # bits for each character: prose, names and hex stay below, random base64 lies above
_WORDS = re.compile(r"[A-Z]?[a-z]{3,}")  # of prose, file names and camelCase; random text has hardly any
_TEXT = (".py", ".yaml", ".yml", ".json", ".txt", ".toml", ".md", ".html")


@dataclass(frozen=True)
class Finding:
    """Where, and what it looks like; the text itself is shortened, and `digest` tells it from others."""

    path: Path
    line: int
    what: str
    excerpt: str
    digest: str


def scan(folder: Path) -> Iterator[Finding]:
    """Every text file below `folder`."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TEXT and path.is_file():
            yield from scan_text(path.read_text(errors="replace"), path)


def scan_text(text: str, path: Path) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        for what, excerpt in _found(line):
            yield Finding(path, number, what, excerpt[:6] + "…", sha256(excerpt.encode()).hexdigest()[:16])


def _found(line: str) -> Iterable[tuple[str, str]]:
    for what, shape in SHAPES.items():
        yield from ((what, found.group()) for found in shape.finditer(line))
    for word in _WORD.findall(line):
        if _random(word):
            yield "a random text", word


def _random(word: str) -> bool:
    """Letters of both cases and digits, evenly spread, that do not read as words."""
    if sum(map(len, _WORDS.findall(word))) > len(word) / 2:
        return False
    mixed = re.search(r"[a-z]", word) and re.search(r"[A-Z]", word) and re.search(r"\d", word)
    return bool(mixed) and _entropy(word) >= ENTROPY


def _entropy(word: str) -> float:
    shares = [count / len(word) for count in Counter(word).values()]
    return -sum(share * math.log2(share) for share in shares)
