"""Links of the OpenAPI document: which operations take the id that an answer tells, found by paths and schemas.

What makes, changes or shows a thing leads to all that can be done with it; a list, and a member as `siteID`, to where
the one it names is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from joinder.api.document_parts import Part

_PLACE = re.compile(r"\{(\w+)\}")
_MEMBER = re.compile(r"(\w+)ID")
_JSON = "application/json"


@dataclass(frozen=True)
class _Operation:
    path: str
    method: str
    told: Part

    @property
    def id(self) -> str:
        return str(self.told["operationId"])

    @property
    def answers(self) -> Iterator[Part]:
        """Yields its responses that carry what was asked for."""
        return (told for status, told in self.told["responses"].items() if status.startswith("2"))


@dataclass(frozen=True)
class _Kind:
    """Things of one kind: each at `base`, which ends in its id."""

    base: str
    operations: list[_Operation]  # that need this id, and no other beyond it

    @property
    def list_path(self) -> str:
        return self.base.rpartition("/")[0]

    @property
    def parameter(self) -> str:
        return str(_PLACE.findall(self.base)[-1])

    @property
    def shown(self) -> list[_Operation]:
        """Returns where one is shown; what can be done with it, where that is nowhere."""
        found = [one for one in self.operations if (one.path, one.method) == (self.base, "get")]
        return found or self.operations


def link(paths: Part, schemas: Part) -> Part:
    """Puts links into the answers of these paths, and returns what they refer to, by name."""
    operations = [_Operation(path, method, told) for path, item in paths.items() for method, told in item.items()]
    finder, found = _Finder(operations, schemas), {}
    for operation in operations:
        for answer in operation.answers:
            for pointer, target in finder.led_to(operation, answer):
                name = f"{target.id}.{pointer.replace('/', '.')}"
                found[name] = _link(target, pointer)
                answer.setdefault("links", {}).setdefault(target.id, {"$ref": f"#/components/links/{name}"})
    return dict(sorted(found.items()))


def _link(target: _Operation, pointer: str) -> Part:
    *before, last = _PLACE.findall(target.path)
    given = {name: f"$request.path.{name}" for name in before}
    return {"operationId": target.id, "parameters": {**given, last: f"$response.body#/{pointer}"}}


class _Finder:
    def __init__(self, operations: list[_Operation], schemas: Part) -> None:
        self._schemas = schemas
        bases = dict.fromkeys(one.path[: place.end()] for one in operations for place in _ids(one.path))
        self._kinds = [_Kind(base, [one for one in operations if _is_about(one, base)]) for base in bases]
        self._of_schema: dict[str, _Kind] = {}
        for kind in self._kinds:
            for shown in (one for one in operations if one.method == "get" and one.path in (kind.base, kind.list_path)):
                for answer in shown.answers:
                    self._of_schema |= dict.fromkeys(self._names(answer, kind), kind)

    def led_to(self, operation: _Operation, answer: Part) -> Iterator[tuple[str, _Operation]]:
        """Yields pointers to ids in this answer, each with an operation that takes what it points to."""
        has, schema = set(_PLACE.findall(operation.path)), _schema_of(answer)
        members = self._members(schema)
        for kind in self._made_by(operation, schema) if "id" in members else ():
            yield from (("id", one) for one in kind.operations if one.id != operation.id and _takes(one, has))
            yield from (("id", one) for one in self._twin(kind))
        for name, one in members.items():
            yield from ((name, shown) for shown in self._named(name))
            entries = self._members(one.get("items", {}))
            for kind in self._kinds if "id" in entries else ():
                if kind.list_path == operation.path:
                    yield from ((f"{name}/0/id", shown) for shown in kind.shown if _takes(shown, has))

    def _made_by(self, operation: _Operation, schema: Part) -> list[_Kind]:
        """Says what an answer with an id is one of: what was posted to its list, or what its schema describes."""
        posted = [kind for kind in self._kinds if operation.method == "post" and kind.list_path == operation.path]
        known = self._of_schema.get(schema.get("$ref", ""))
        return posted or ([known] if known is not None else [])

    def _twin(self, kind: _Kind) -> list[_Operation]:
        """Returns where the same is shown among others: a virtual site is a site."""
        return [
            shown
            for other in self._kinds
            if kind.base != other.base and kind.base.endswith(other.base)
            for shown in other.shown
        ]

    def _named(self, member: str) -> list[_Operation]:
        """Returns where that is shown which a member as `siteID` names."""
        found = _MEMBER.fullmatch(member)
        kinds = [kind for kind in self._kinds if found and kind.parameter == f"{found[1].lower()}_id"]
        return min(kinds, key=lambda kind: len(kind.base)).shown if kinds else []

    def _names(self, answer: Part, kind: _Kind) -> Iterator[str]:
        """Yields the schemas by which a kind is shown, or listed."""
        schema = _schema_of(answer)
        named = [schema, *(one.get("items", {}) for one in self._members(schema).values())]
        return (one["$ref"] for one in named if "$ref" in one and "id" in self._members(one))

    def _members(self, schema: Part) -> Part:
        known = self._schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        members: Part = known.get("properties", {})
        return members


def _schema_of(answer: Part) -> Part:
    schema: Part = answer.get("content", {}).get(_JSON, {}).get("schema", {})
    return schema


def _ids(path: str) -> Iterator[re.Match[str]]:
    return (place for place in _PLACE.finditer(path) if place[1].endswith("_id"))


def _is_about(operation: _Operation, base: str) -> bool:
    beyond = operation.path.removeprefix(base)
    return operation.path.startswith(base) and beyond[:1] in ("", "/") and not _PLACE.search(beyond)


def _takes(operation: _Operation, given: set[str]) -> bool:
    """Tells whether all that it needs but the last is known where it is linked from."""
    return set(_PLACE.findall(operation.path)[:-1]) <= given
