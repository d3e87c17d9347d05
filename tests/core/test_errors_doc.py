"""docs/errors.md lists every problem type the API can answer, with its status."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from joinder import errors
from joinder.api import problems
from joinder.services import refusals

DOCS = Path(__file__).parents[2] / "docs/errors.md"


def documented() -> dict[str, int]:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", DOCS.read_text(), re.MULTILINE)
    return {name: int(status) for name, status in rows}


def kinds(module: ModuleType, base: type[Any]) -> list[type[Any]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]


def answered() -> dict[str, int]:
    classes = kinds(errors, errors.VendorError) + kinds(refusals, refusals.Refusal)
    ours = {name: status for status, (name, _) in problems._TITLES.items()}
    return {**ours, **{kind.problem: kind.status for kind in classes}}


def test_the_page_and_the_code_agree() -> None:
    assert documented() == answered()


def test_every_vendor_problem_has_a_title() -> None:
    assert {kind.problem for kind in kinds(errors, errors.VendorError)} == set(problems._VENDOR_TITLES)
