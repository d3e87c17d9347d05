"""docs/errors.md lists every problem type the API can answer, with its status."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from joinder import errors
from joinder.api import problems
from joinder.api.pages import catalogue
from joinder.services import refusals
from joinder.services.join import join_ends
from joinder.trouble import StoreTrouble

DOCS = Path(__file__).parents[2] / "docs/errors.md"


def documented() -> dict[str, int]:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", DOCS.read_text(), re.MULTILINE)
    return {name: int(status) for name, status in rows}


def kinds(module: ModuleType, base: type[Any]) -> list[type[Any]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]


def answered() -> dict[str, int]:
    classes = kinds(errors, errors.VendorError) + kinds(refusals, refusals.Refusal)
    ours = {name: status for status, (name, _) in problems._TITLES.items()}
    return {**ours, StoreTrouble.problem: 503, **{kind.problem: kind.status for kind in classes}}


def test_the_page_and_the_code_agree() -> None:
    assert documented() == answered()


def test_every_vendor_problem_has_a_title() -> None:
    assert {kind.problem for kind in kinds(errors, errors.VendorError)} == set(problems._VENDOR_TITLES)


def ends() -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    return {code: (actor, where, text) for code, actor, where, text in rows}


def where_of(end: join_ends.End) -> str:
    return f"`{end.error}`" if end.error else "success" if end.is_success else f"page {end.status}"


def test_the_page_lists_every_end_of_a_join_and_who_must_act() -> None:
    assert ends() == {code: (end.actor, where_of(end), end.text) for code, end in join_ends.ENDS.items()}
    assert len(join_ends.ENDS) >= 14


def test_every_end_has_its_own_page_in_every_language() -> None:
    for language in catalogue.languages().values():
        assert set(language.pages) == set(join_ends.ENDS)
        assert len({(page.title, page.happened) for page in language.pages.values()}) == len(join_ends.ENDS)


def test_every_error_of_a_vendor_is_an_end() -> None:
    for kind in kinds(errors, errors.VendorError):
        for is_form, is_kept in ((False, False), (True, False), (False, True)):
            code = join_ends.code_of(kind("m"), is_form=is_form, is_kept=is_kept)
            assert not join_ends.ENDS[code].is_success
