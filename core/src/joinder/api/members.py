"""What is wrong with a body: the member, by its JSON Pointer, and what would be right there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from joinder import moments
from joinder.api.queries import NO_NUL, suggestion
from joinder.services.refusals import pointer

_STEP = re.compile(r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]")
_UNKNOWN, _MISSING = re.compile("unknown field `([^`]+)`"), re.compile("missing required field `([^`]+)`")
Step = str | int


class _Pairs(dict[str, Any]):
    """An object as it was sent; `twice`: the first of its members that stands twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.twice = next((name for name, count in counts.items() if count > 1), None)


def read_as(kind: type, sent: object) -> object:
    """Reads what msgspec has no type for. Raises ValueError with what would be right."""
    if kind is moments.Instant:
        return moments.read(sent)
    raise NotImplementedError(kind)


TYPE_DECODERS = [(lambda kind: kind is moments.Instant, read_as)]


def unfit(sent: bytes) -> dict[str, str]:
    """Returns what is wrong with well-formed JSON whatever its shape: a member that stands twice, a NUL in a text."""
    return next(_unfit(json.loads(sent, object_pairs_hook=_Pairs), ()), {})


def _unfit(value: object, place: tuple[Step, ...]) -> Iterator[dict[str, str]]:
    if isinstance(value, str) and "\0" in value:
        yield {pointer(*place): NO_NUL}
    if isinstance(value, _Pairs):
        if value.twice is not None:
            yield {pointer(*place, value.twice): "may be given once"}
        for name, member in value.items():
            yield from _unfit(name, (*place, name))
            yield from _unfit(member, (*place, name))
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _unfit(entry, (*place, index))


def faults(body: object, shape: Any) -> dict[str, str]:
    """Returns the first fault of a body, none where it is of the shape as it stands, without any conversion."""
    said = _said(body, shape)
    if said is None:
        return {}
    what, _, path = said.partition(" - at `$")
    place = _place(body, shape, path.removesuffix("`"), said)
    if (name := _UNKNOWN.search(what)) is not None:
        return {pointer(*place, name.group(1)): "unknown member"}
    if (name := _MISSING.search(what)) is not None:
        return {pointer(*place, name.group(1)): "is required"}
    return {pointer(*place): _wanted(what, body, shape, place)}


def _said(body: object, shape: Any) -> str | None:
    try:
        msgspec.convert(body, shape, dec_hook=read_as)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _place(body: object, shape: Any, path: str, said: str) -> list[Step]:
    """Reads `.vendors[0].options[...]`. Which member of a free object `[...]` is, leaving out the others tells."""
    place = list[Step]()
    for name, index in _STEP.findall(path):
        if index != "...":
            place.append(name or int(index))
            continue
        held = _at(body, place)
        alone = ((key, _with(body, place, {key: value})) for key, value in held.items())
        name = next((key for key, one in alone if _said(one, shape) == said), "")
        if not name:
            break
        place.append(name)
    return place


def _at(value: Any, place: Sequence[Step]) -> Any:
    for step in place:
        value = value[step]
    return value


def _with(body: Any, place: Sequence[Step], value: object) -> Any:
    """Returns the body with another value at one place."""
    if not place:
        return value
    changed = body.copy()
    changed[place[0]] = _with(body[place[0]], place[1:], value)
    return changed


def _wanted(what: str, body: object, shape: Any, place: Sequence[Step]) -> str:
    """Says what would be right, and nothing of what was sent."""
    if what.startswith("Invalid enum value"):
        values = [value for kind in _kinds_at(shape, place) for value in getattr(kind, "values", ())]
        return f"must be one of {', '.join(values)}{suggestion(str(_at(body, place)), values)}"
    return what


def _kinds_at(shape: Any, place: Sequence[Step]) -> list[inspect.Type]:
    kinds = _plain(inspect.type_info(shape))
    for step in place:
        kinds = [one for kind in kinds for inner in _inside(kind, step) for one in _plain(inner)]
    return kinds


def _plain(kind: inspect.Type) -> list[inspect.Type]:
    """Returns the members of a union, or the kind alone, without what is said besides."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    return [one for each in kind.types for one in _plain(each)] if isinstance(kind, inspect.UnionType) else [kind]


def _inside(kind: inspect.Type, step: Step) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.StructType):
        fields: Mapping[str, inspect.Field] = {field.encode_name: field for field in kind.fields}
        if step in fields:
            yield fields[str(step)].type
    elif isinstance(kind, inspect.ListType):
        yield kind.item_type
    elif isinstance(kind, inspect.DictType):
        yield kind.value_type
