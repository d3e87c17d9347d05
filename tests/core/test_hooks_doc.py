"""The pages that describe the contract say what the code says."""

from __future__ import annotations

import enum
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import joinder
from joinder import errors
from joinder.errors import VendorError
from joinder.hookspecs import VendorSpecs
from joinder.vendors.registry import HOOKS

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
HEADING = re.compile(r"^## `?(\w+)\(([^)]*)\)`?\s*$", re.MULTILINE)
ROW = re.compile(
    r"^    [│ ]*[├└]─ (?P<name>\w+) +(?P<actor>\w+) +(?P<health>[\w–]+) +(?P<status>[\d–]+) +\S", re.MULTILINE
)
DEPTH = re.compile(r"^    ([│ ]*)[├└]─ (\w+)", re.MULTILINE)


def arguments(hook: str) -> list[str]:
    return [name for name in inspect.signature(getattr(VendorSpecs, hook)).parameters if name != "self"]


def documented() -> list[tuple[str, list[str]]]:
    found = HEADING.findall(PAGE.read_text())
    return [(name, [part.strip() for part in inside.split(",") if part.strip()]) for name, inside in found]


def test_the_page_has_each_hook_once_and_no_other():
    assert sorted(name for name, _ in documented()) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_page_names_the_arguments_of_each_hook_in_order(hook):
    assert dict(documented()).get(hook) == arguments(hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_its_contract_in_its_docstring(hook):
    assert inspect.getdoc(getattr(VendorSpecs, hook))


def subclasses(parent: type[VendorError]) -> list[type[VendorError]]:
    found = [child for child in parent.__subclasses__() if child.__module__ == errors.__name__]
    return [each for child in found for each in (child, *subclasses(child))]


TREE = {row["name"]: row for row in ROW.finditer(errors.__doc__ or "")}


def test_the_tree_of_errors_lists_every_class_and_no_other():
    assert sorted(TREE) == sorted(kind.__name__ for kind in subclasses(VendorError))


@pytest.mark.parametrize("kind", subclasses(VendorError), ids=lambda kind: kind.__name__)
def test_the_tree_says_what_the_class_says(kind):
    row = TREE[kind.__name__]
    assert row["actor"] == kind.actor
    assert row["health"] == (kind.health or "–")
    assert row["status"] == str(kind.status)


@pytest.mark.parametrize("kind", subclasses(VendorError), ids=lambda kind: kind.__name__)
def test_the_tree_shows_each_class_under_its_parent(kind):
    depths = {name: len(lead) // 3 for lead, name in DEPTH.findall(errors.__doc__ or "")}
    assert depths[kind.__name__] == len(kind.__mro__) - len(VendorError.__mro__) - 1


@pytest.mark.parametrize("kind", subclasses(VendorError), ids=lambda kind: kind.__name__)
def test_each_class_has_a_sentence_and_a_problem_name_of_its_own(kind):
    assert kind.__doc__
    same = [other for other in subclasses(VendorError) if other.problem == kind.problem]
    assert same == [kind]


def members(kind: type) -> list[str]:
    """What an author can name of a type: its fields, or the members of an enumeration."""
    if issubclass(kind, enum.Enum):
        return [member.name for member in kind]
    return (
        [field.name for field in fields(kind)] if is_dataclass(kind) else list(getattr(kind, "__struct_fields__", ()))
    )


TYPES = [kind for name in joinder.__all__ if isinstance(kind := getattr(joinder, name), type)]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_member_of_the_contract_stands_in_its_pages(kind: type) -> None:
    pages = "\n".join((PAGE.parent / name).read_text() for name in ("hooks.md", "contract.md", "write-a-vendor.md"))
    code = " ".join(re.findall(r"`+[^`]+`+", pages))
    assert [name for name in members(kind) if not re.search(rf"\b{name}\b", code)] == []
