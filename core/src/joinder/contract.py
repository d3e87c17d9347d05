"""The version of the contract between core and plugins; docs/contract.md says what its numbers mean."""

from __future__ import annotations

import re

CONTRACT = "1.0"
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


def version_of(text: str) -> tuple[int, int] | None:
    """Returns major and minor of `1.0`; None for anything else."""
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else None
