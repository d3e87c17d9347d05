"""What of an OpenAPI document would break a client that was written for an earlier one.

    .venv/bin/python tests/contract/breaking.py [EARLIER [LATER]]

Without arguments: docs/openapi.json, which is the last release's, and this working tree's. Exit code 1 where something
breaks. Breaking are: an operation, parameter, answer or member that is gone; a name that changed; a parameter or member
of a request that is newly required, narrower, or of another type; a member of an answer that may newly be absent, be
null, or have another type; a scope that is newly needed. More of anything is not, a value of a closed set included:
the document says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RELEASED = Path(__file__).parents[2] / "docs" / "openapi.json"
Document = dict[str, Any]


def breaks(before: Document, after: Document) -> list[str]:
    """Says each thing that breaks, by operation."""
    return [*_operations(before, after), *_webhooks(before, after)]


def _operations(before: Document, after: Document) -> Iterator[str]:
    for path, item in before["paths"].items():
        for method, old in item.items():
            new = after["paths"].get(path, {}).get(method)
            place = f"{method.upper()} {path}"
            if new is None:
                yield f"{place}: is gone"
                continue
            if new["operationId"] != old["operationId"]:
                yield f"{place}: operationId {old['operationId']} is {new['operationId']} now"
            yield from _scopes(old, new, place)
            yield from _parameters(Pair(before, after), old, new, place)
            yield from _bodies(Pair(before, after), old, new, place)
            yield from _answers(Pair(before, after), old, new, place)


def _webhooks(before: Document, after: Document) -> Iterator[str]:
    for kind in before.get("webhooks", {}):
        if kind not in after.get("webhooks", {}):
            yield f"webhook {kind}: is gone"


def _scopes(old: Any, new: Any, place: str) -> Iterator[str]:
    def needed(operation: Any) -> set[str]:
        return {scope for one in operation.get("security", []) for scopes in one.values() for scope in scopes}

    if old.get("security") == [] and new.get("security") != []:
        yield f"{place}: needs a token now"
    for scope in sorted(needed(new) - needed(old)):
        yield f"{place}: needs the scope {scope} now"


class Pair:
    """Two documents, each with its own references."""

    def __init__(self, before: Document, after: Document) -> None:
        self.before, self.after = before, after

    def old(self, node: Any) -> Any:
        return _followed(self.before, node)

    def new(self, node: Any) -> Any:
        return _followed(self.after, node)


def _followed(document: Document, node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        place: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        node = place
    return node


def _parameters(pair: Pair, old: Any, new: Any, place: str) -> Iterator[str]:
    olds = {(one["in"], one["name"]): one for one in map(pair.old, old.get("parameters", []))}
    news = {(one["in"], one["name"]): one for one in map(pair.new, new.get("parameters", []))}
    for key, one in olds.items():
        where = f"{place}: parameter {key[1]}"
        if key not in news:
            yield f"{where} is gone"
        else:
            yield from _taken(pair, one["schema"], news[key]["schema"], where, set())
    for key, one in news.items():
        if one.get("required") and not olds.get(key, {}).get("required"):
            yield f"{place}: parameter {key[1]} is required now"


def _bodies(pair: Pair, old: Any, new: Any, place: str) -> Iterator[str]:
    olds, news = pair.old(old.get("requestBody")) or {}, pair.new(new.get("requestBody")) or {}
    if news.get("required") and not olds.get("required"):
        yield f"{place}: a body is required now"
    for media_type, content in olds.get("content", {}).items():
        if media_type not in news.get("content", {}):
            yield f"{place}: takes no {media_type} any more"
        else:
            yield from _taken(pair, content["schema"], news["content"][media_type]["schema"], f"{place}: body", set())


def _answers(pair: Pair, old: Any, new: Any, place: str) -> Iterator[str]:
    for status, one in old["responses"].items():
        if not status.startswith(("2", "3")):
            continue
        if status not in new["responses"]:
            yield f"{place}: {status} is gone"
            continue
        olds, news = pair.old(one), pair.new(new["responses"][status])
        for media_type, content in olds.get("content", {}).items():
            if media_type not in news.get("content", {}):
                yield f"{place}: {status} is no {media_type} any more"
            else:
                found = news["content"][media_type]["schema"]
                yield from _given(pair, content["schema"], found, f"{place}: {status}", set())


def _taken(pair: Pair, old: Any, new: Any, place: str, seen: set[int]) -> Iterator[str]:
    """What callers send: it may get wider, never narrower."""
    old, new = pair.old(old), pair.new(new)
    if id(old) in seen:
        return
    seen.add(id(old))
    if narrower := _types(old) - _types(new):
        yield f"{place} takes no {', '.join(sorted(narrower))} any more"
        return
    yield from _limits(old, new, place)
    news = new.get("properties", {})
    for name, member in old.get("properties", {}).items():
        if name not in news:
            yield f"{place}/{name} is not taken any more"
        else:
            yield from _taken(pair, member, news[name], f"{place}/{name}", seen)
    for name in set(new.get("required", [])) - set(old.get("required", [])):
        yield f"{place}/{name} is required now"
    if "items" in old and "items" in new:
        yield from _taken(pair, old["items"], new["items"], f"{place}/-", seen)


def _limits(old: Any, new: Any, place: str) -> Iterator[str]:
    if "enum" in new and ("enum" not in old or set(old["enum"]) - set(new["enum"])):
        yield f"{place} takes fewer values"
    if new.get("maximum", float("inf")) < old.get("maximum", float("inf")):
        yield f"{place} is at most {new['maximum']} now"
    if new.get("minimum", float("-inf")) > old.get("minimum", float("-inf")):
        yield f"{place} is at least {new['minimum']} now"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{place} must match another pattern now"
    if old.get("default") != new.get("default"):
        yield f"{place} has another default now"


def _given(pair: Pair, old: Any, new: Any, place: str, seen: set[int]) -> Iterator[str]:
    """What callers get: it may get more members, never fewer, nor other types."""
    old, new = pair.old(old), pair.new(new)
    if id(old) in seen:
        return
    seen.add(id(old))
    if wider := _types(new) - _types(old):
        yield f"{place} may be {', '.join(sorted(wider))} now"
        return
    if "enum" in old and "enum" not in new:
        yield f"{place} may be anything now"
    news = new.get("properties", {})
    for name, member in old.get("properties", {}).items():
        if name not in news:
            yield f"{place}/{name} is gone"
        else:
            yield from _given(pair, member, news[name], f"{place}/{name}", seen)
    for name in set(old.get("required", [])) - set(new.get("required", [])):
        if name in news:
            yield f"{place}/{name} may be absent now"
    for member in ("items", "additionalProperties"):
        if isinstance(old.get(member), dict) and isinstance(new.get(member), dict):
            yield from _given(pair, old[member], new[member], f"{place}/-", seen)


def _types(schema: Any) -> set[str]:
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return {kind for one in alternatives for kind in (_types(one) if "$ref" not in one else {"object"})}
    kind = schema.get("type", "object" if "properties" in schema or "allOf" in schema else "any")
    return set(kind) if isinstance(kind, list) else {kind}


def main(*names: str) -> int:
    from joinder.api.app import openapi_document

    before = json.loads(Path(names[0]).read_text() if names else RELEASED.read_text())
    after = json.loads(Path(names[1]).read_text()) if len(names) > 1 else openapi_document()
    found = breaks(before, after)
    print(*(found or ["Nothing breaks."]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
