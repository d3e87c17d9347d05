"""Queries are taken at their word: an unknown name, one that comes twice, a value outside its set are refused.

What an operation knows is read from its own signature and those of its dependencies, so that nothing is declared twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl

from litestar import Request
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition
from msgspec import Struct

from joinder.services.refusals import Invalid, pointer

FIELDS_MOST = 50
NO_NUL = "must not hold a NUL character"  # PostgreSQL stores none
_BOOLEAN = ("false", "true")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
Values = Collection[str]


class Known(Struct, frozen=True):
    """A query parameter of an operation: the values it takes, or their pattern; None: any. `is_whole`: a number."""

    values: Values | None = None
    pattern: str | None = None
    is_whole: bool = False
    least: float = -inf
    most: float = inf

    def read(self, value: str) -> str | int | bool:
        """Returns what a value that was checked says."""
        if self.is_whole:
            return int(value)
        return value == "true" if self.values == _BOOLEAN else value


def refuse(request: Request[Any, Any, Any], vendors: Callable[[], Values]) -> None:
    """Checks the query against what the operation knows. Raises Invalid naming each parameter that is wrong."""
    query = request.scope["query_string"]
    if not query:
        return
    operations: dict[str, Mapping[str, Known]] = request.app.state.queries
    handler = request.route_handler
    key = str(handler)
    if key not in operations:
        operations[key] = known(handler)
    checked(query, operations[key], vendors)


def checked(query: bytes, known: Mapping[str, Known], vendors: Callable[[], Values]) -> dict[str, str]:
    """Returns the parameters of a query, each given once. Raises Invalid as `refuse` does."""
    pairs = _pairs(query)
    errors = _problems(pairs, known, vendors)
    if errors:
        raise Invalid("The query does not fit the operation", errors=errors)
    return dict(pairs)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MOST)
    except UnicodeError:
        problem = "is not UTF-8 in percent-encoding"
        raise Invalid(f"The query {problem}.", errors={"": problem}) from None
    except ValueError:
        problem = f"has more than {FIELDS_MOST} parameters"
        raise Invalid(f"The query {problem}.", errors={"": problem}) from None


def _problems(
    pairs: list[tuple[str, str]], known: Mapping[str, Known], vendors: Callable[[], Values]
) -> dict[str, str]:
    errors: dict[str, str] = {}
    given: set[str] = set()
    for name, value in pairs:
        if name not in known:
            listed = f"known: {', '.join(sorted(known))}" if known else "this operation has no parameters"
            errors[pointer(name)] = f"unknown parameter{suggestion(name, known)}; {listed}"
        elif name in given:
            errors[pointer(name)] = "may be given once"
        elif (problem := _problem(value, known[name], vendors() if name == "vendor" else None)) is not None:
            errors[pointer(name)] = problem
        given.add(name)
    return errors


def _problem(value: str, known: Known, vendors: Values | None) -> str | None:
    values = known.values if vendors is None else vendors
    if values is not None and value not in values:
        return f"must be one of {', '.join(sorted(values))}{suggestion(value, values)}"
    if not value:
        return "must not be empty; leave it out instead"
    if "\0" in value:
        return NO_NUL
    if known.is_whole and not _WHOLE.fullmatch(value):  # Litestar would take 1e2, too
        return "must be a whole number in plain digits, e.g. 50"
    if known.is_whole and not known.least <= int(value) <= known.most:
        return f"must be {known.least:g} to {known.most:g}"
    if known.pattern is not None and not re.fullmatch(known.pattern, value):
        return f"must match {known.pattern}"
    return None


def suggestion(name: str, known: Values) -> str:
    """Returns the question that helps who mistyped a name; nothing where none is near."""
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, 1)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""


def known(handler: BaseRouteHandler) -> dict[str, Known]:
    """Returns the query parameters of an operation by name, and those its dependencies ask for."""
    return dict(_known(handler))


def _known(handler: BaseRouteHandler) -> Iterator[tuple[str, Known]]:
    dependencies = handler.resolve_dependencies()
    waiting = list(handler.parsed_fn_signature.parameters.values())
    seen: set[str] = set()
    while waiting:
        field = waiting.pop()
        if isinstance(field.kwarg_definition, QueryParameter):
            yield field.kwarg_definition.name or field.name, _of(field, field.kwarg_definition)
        elif field.name in dependencies and field.name not in seen:
            seen.add(field.name)
            waiting += dependencies[field.name].parsed_fn_signature.parameters.values()


def _of(field: FieldDefinition, parameter: QueryParameter) -> Known:
    members = [field.annotation, *get_args(field.annotation)]
    literal = next((one for one in members if get_origin(one) is Literal), None)
    values = get_args(literal) if literal is not None else (parameter.schema_extra or {}).get("enum")
    if bool in members:
        values = _BOOLEAN
    return Known(
        values=values,
        pattern=parameter.pattern,
        is_whole=int in members,
        least=-inf if parameter.ge is None else parameter.ge,
        most=inf if parameter.le is None else parameter.le,
    )
