"""A short way for what is asked most: the framework's costs three times what a page does.

A plain request with a token that counts goes from its token to its answer here: of a list by its own path and a query
without a fault, by what the framework would call (the same checks, the same providers, the operation itself); and of
settled history that the caller has already (settled.py). Any other is the router's from its beginning, which alone lets
wait and refuses; nothing was done until then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.typing import FieldDefinition
from msgspec import Struct

from joinder.api import queries
from joinder.api.asking import API_VERSION, vendors_of
from joinder.api.auth import require_caller
from joinder.api.client_budgets import spend_request
from joinder.api.deps import bearer_of, tokens_of
from joinder.api.formats import JSON, chosen
from joinder.api.front_door import HANDLERS
from joinder.api.problems import TooManyRequests
from joinder.api.settled import Settled
from joinder.observe.log_context import bind
from joinder.services.records.access_tokens import InvalidToken
from joinder.services.records.accounts import Caller
from joinder.services.refusals import Invalid
from joinder.store.types import Stamp
from joinder.trouble import StoreTrouble
from joinder.turns import Turns

KEPT_QUERY_BYTES = 256
Query = Mapping[str, Any]


class _Call(Struct, frozen=True):
    """A function, and where its arguments come from: what was provided before, and the query, by its names there."""

    name: str
    function: Callable[..., Any]
    provided: Sequence[str]
    asked: Mapping[str, str]

    def made(self, provided: Mapping[str, Any], query: Query) -> Any:
        given = {self.asked[wire]: value for wire, value in query.items() if wire in self.asked}
        return self.function(**{name: provided[name] for name in self.provided}, **given)


class _Answer(Struct, frozen=True):
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes = b""


class ListRead:
    """One list: how it is asked for, and what answers it."""

    def __init__(self, handler: HTTPRouteHandler, template: str) -> None:
        self.template = template
        self._scope: str = handler.opt["scope"]
        self._known = queries.known(handler)
        *self._providers, self._operation = _calls(handler)
        self._kept_query = lru_cache(maxsize=256)(self._query)

    async def answer(self, scope: Scope) -> _Answer | None:
        """Returns the page as it travels; None where the router is to look at the request."""
        scope["path_template"] = self.template  # first: what is raised has its place in logs and figures
        caller, stamp = await _let_in(scope)
        query = self._query_of(scope, caller) if caller is not None and self._scope in caller.scopes else None
        if caller is None or query is None or not _has_budget(scope, caller):
            return None
        scope["state"] |= {"caller": caller, "stamp": stamp}
        bind(account_id=caller.account_id)
        provided = {"hub": scope["litestar_app"].state.hub, "caller": caller, "stamp": stamp}
        for provider in self._providers:
            provided[provider.name] = provider.made(provided, query)
        body = msgspec.json.encode(await self._operation.made(provided, query))
        return _Answer(200, [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(body))], body)

    def _query_of(self, scope: Scope, caller: Caller) -> Query | None:
        """Returns the parameters in their types; None where there is something to refuse."""
        text = scope["query_string"]
        try:
            if b"vendor" in text or len(text) > KEPT_QUERY_BYTES:  # depends on who asks, or is not worth its place
                return self._query(text, vendors_of(scope["litestar_app"].state.hub, caller))
            return self._kept_query(text)
        except Invalid:
            return None

    def _query(self, text: bytes, vendors: queries.Values = ()) -> Query:
        """Raises Invalid."""
        given = queries.checked(text, self._known, lambda: vendors)
        return {name: self._known[name].read(value) for name, value in given.items()}


async def _answer_settled(scope: Scope) -> _Answer | None:
    """Returns a 304; None where the router is to look at the request."""
    settled: Settled = scope["litestar_app"].state.settled
    try:
        caller, stamp = await _let_in(scope)
    except StoreTrouble:  # the router meets it again, and knows which operation it stops
        return None
    kept = settled.unchanged(scope, caller, stamp) if caller is not None else None
    if caller is None or kept is None or not _has_budget(scope, caller):
        return None
    scope["path_template"] = kept.route
    bind(account_id=caller.account_id)
    told = {**kept.headers, "etag": kept.tag}
    return _Answer(304, [(name.encode(), value.encode()) for name, value in told.items()])


async def _let_in(scope: Scope) -> tuple[Caller | None, Stamp | None]:
    """Returns the client whose token counts; keys of browsers are let in elsewhere."""
    token = bearer_of(scope)
    try:
        caller, stamp = await tokens_of(scope["litestar_app"]).verify(token or "")
    except InvalidToken:
        return None, None
    return (caller if caller.enrollment_id is None else None), stamp


def shortened(app: ASGIApp, lists: Mapping[str, ListRead]) -> ASGIApp:
    """Wraps the router."""

    async def going(scope: Scope, receive: Receive, send: Send) -> None:
        answer_to = _way_of(scope, lists)
        room: Turns = scope["litestar_app"].state.intake.callers
        if answer_to is None or not room.enter_now():
            await app(scope, receive, send)
            return
        try:
            answer = await answer_to(scope)
        except Exception as error:  # noqa: BLE001 - the handlers below are of every exception
            await _refuse(error, scope, receive, send)
            return
        finally:
            room.leave()
        await (app(scope, receive, send) if answer is None else _send(answer, send))

    return going


def _way_of(scope: Scope, lists: Mapping[str, ListRead]) -> Callable[[Scope], Awaitable[_Answer | None]] | None:
    if scope.get("method") != "GET" or scope.get("root_path"):
        return None
    headers = dict(scope["headers"])
    if not _is_plain(scope, headers):
        return None
    if (read := lists.get(scope["path"])) is not None:
        return read.answer if _takes_json(headers.get(b"accept", b"*/*")) else None
    return _answer_settled if b"if-none-match" in headers else None


def lists_of(app: Litestar) -> dict[str, ListRead]:
    """Returns what goes the short way, by path. Raises ValueError for an operation with guards of its own."""
    found = {}
    for route in app.routes:
        handlers = route.route_handler_map if isinstance(route, HTTPRoute) else {}
        if "GET" not in handlers or "list" not in handlers["GET"][0].opt:
            continue
        if handlers["GET"][0].resolve_guards() != [require_caller]:
            raise ValueError(f"{route.path}: a list goes the short way with one guard, {require_caller.__name__}")
        found[route.path] = ListRead(handlers["GET"][0], route.path_format)
    return found


def _is_plain(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Tells whether each header came once, and the version of the API is the one there is."""
    version = headers.get(b"api-version")
    return len(headers) == len(list(scope["headers"])) and version in (None, API_VERSION.encode())


@lru_cache(maxsize=64)
def _takes_json(accept: bytes) -> bool:
    return chosen(accept.decode("latin-1"), (JSON,)) is not None


def _has_budget(scope: Scope, caller: Caller) -> bool:
    try:
        spend_request(scope, caller)
    except TooManyRequests:
        return False
    return True


async def _send(answer: _Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what the operation raised, as the framework does."""
    request = Request[Any, Any, Any](scope, receive, send)
    handler: Any = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    await handler(request, error).to_asgi_response(app=None, request=request)(scope, receive, send)


def _calls(handler: HTTPRouteHandler) -> Iterator[_Call]:
    """Yields the providers an operation needs, each after those it needs itself, then the operation."""
    made = {"hub", "caller", "stamp"}

    def needed(parameters: Mapping[str, FieldDefinition]) -> Iterator[_Call]:
        for name in parameters.keys() & dependencies.keys() - made:
            made.add(name)
            provider = dependencies[name]
            signature = provider.parsed_fn_signature.parameters
            yield from needed(signature)
            yield _call(name, provider.dependency, signature)

    dependencies = handler.resolve_dependencies()
    signature = handler.parsed_fn_signature.parameters
    yield from needed(signature)
    yield _call("", handler.fn, signature)


def _call(name: str, function: Any, parameters: Mapping[str, FieldDefinition]) -> _Call:
    asked = {
        field.kwarg_definition.name or argument: argument
        for argument, field in parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
    return _Call(name, function, [argument for argument in parameters if argument not in asked.values()], asked)
