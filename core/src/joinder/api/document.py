"""The OpenAPI document: what signatures, structs and docstrings say, put together; it needs no server.

Litestar finds the operations and their parameters; msgspec describes the structs, with their docstrings. What is
left out when unknown is optional and never null. Nothing in it depends on an installation, so that two releases can be
compared (tests/contract).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from joinder.api import document_parts as parts
from joinder.api.document_links import link
from joinder.api.document_parts import PARTS, Part
from joinder.api.problems import MEDIA_TYPE, Problem
from joinder.services.records.event_types import EVENT_TYPES
from joinder.wire.base import Body
from joinder.wire.events import EventData, WebhookPayload

_READ_AT_VENDORS = re.compile(r"/sites/\{site_id\}(/live|/[a-z]+-intervals)?|/[a-z-]+/\{device_id\}/intervals")
_REF = "#/components/schemas/{name}"
_DESCRIPTION = f"""One REST API over many vendors of distributed energy resources: solar inverters, batteries, meters.

Errors are RFC 9457 `{MEDIA_TYPE}`; `type` is stable. Members that are unknown are left out, never null. Energy is in
kWh, power in kW, percent from 0 to 100, times in ISO 8601 with an offset. Lists have `pageSize` and `pageToken`;
`nextPageToken` is absent on the last page. Unknown parameters and members are refused. Reads carry an `ETag`;
`If-None-Match` answers 304. Every answer to a client says by `RateLimit` how much more it may ask."""


def describe(app: Litestar) -> Part:
    """Returns the document of an app's routes."""
    found: Part = app.openapi_schema.to_schema()
    handlers = {handler.operation_id: handler for handler in _handlers(app)}
    operations = [
        (path, method, operation) for path, item in found["paths"].items() for method, operation in item.items()
    ]
    paths: Part = {}
    for path, method, operation in operations:
        made = _operation(path, method, operation, handlers[operation["operationId"]])
        paths.setdefault(path, {})[method] = with_example(made)
    schemas = _schemas(handlers.values())
    links = link(paths, schemas)
    return {
        "openapi": found["openapi"],
        "info": {
            "title": "Joinder",
            "version": version("joinder"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"oauth2": []}],
        "tags": [{"name": name, "description": text} for name, text in parts.TAGS.items()],
        "paths": paths,
        "webhooks": _webhooks(),
        "components": {
            "schemas": schemas,
            "responses": parts.RESPONSES,
            "links": links,
            "parameters": {"ApiVersion": parts.VERSION},
            "securitySchemes": parts.SECURITY,
        },
    }


@cache
def _examples() -> dict[str, Part]:
    """Reads what every operation was asked and answered once (tests/contract/examples.py records it)."""
    found: dict[str, Part] = msgspec.json.decode((Path(__file__).parent / "examples.json").read_bytes())
    return found


def with_example(operation: Part) -> Part:
    """Adds the recorded example to an operation: its parameters, its body, its answer."""
    example = _examples().get(operation["operationId"])
    if example is None:
        return operation
    request, answer = example["request"], example["answer"]
    given = {**request.get("path", {}), **request.get("query", {})}
    for parameter in operation.get("parameters", []):
        if parameter.get("name") in given:
            parameter["example"] = _typed(given[parameter["name"]], parameter["schema"])
    if "body" in request:
        for content in operation["requestBody"]["content"].values():
            content["example"] = request["body"]
    told = operation["responses"].get(str(answer["status"]), {}).get("content", {}).get("application/json")
    if told is not None:
        told["example"] = answer["body"]
    return operation


def _typed(text: str, schema: Part) -> Any:
    return msgspec.json.decode(text) if schema.get("type") in ("boolean", "integer") else text


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if getattr(handler, "operation_id", None):
                yield handler


def _operation(path: str, method: str, found: Part, handler: HTTPRouteHandler) -> Part:
    """Returns the operation with what is true of it; Litestar's own ideas of its errors are dropped."""
    operation_id, doc = found["operationId"], handler.fn.__doc__
    own = PARTS.get(operation_id, {})
    is_guarded = bool(handler.resolve_guards())
    parameters = [_parameter(one) for one in found.get("parameters", [])] + own.get("query", [])
    if is_guarded:
        parameters.append({"$ref": "#/components/parameters/ApiVersion"})
    body = own.get("requestBody") or _body(method, found.get("requestBody"))
    scope = handler.opt.get("scope")
    return {
        "operationId": operation_id,
        "summary": found["summary"],
        **({"description": cleandoc(doc)} if doc else {}),
        "tags": found["tags"],
        "security": own.get("security", [{"oauth2": [scope] if scope else []}] if is_guarded else []),
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": own.get("responses") or _responses(path, method, found, handler),
    }


def _parameter(found: Part) -> Part:
    return {
        "name": found["name"],
        "in": found["in"],
        "required": found["required"],
        **({"description": found["description"]} if found.get("description") else {}),
        "schema": _never_null({name: _whole(one) for name, one in found["schema"].items() if name != "description"}),
    }


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _body(method: str, found: Part | None) -> Part | None:
    """Returns the body. One that may be left out is not required; a patch is a merge patch (RFC 7396)."""
    if found is None:
        return None
    schema = found["content"]["application/json"]["schema"]
    content = {"application/json": {"schema": _never_null(schema)}}
    if method == "patch":
        content = {"application/merge-patch+json": content["application/json"], **content}
    return {"required": not _is_nullable(schema), "content": content}


def _responses(path: str, method: str, found: Part, handler: HTTPRouteHandler) -> Part:
    responses: Part = {}
    formats = handler.opt.get("formats", ())
    for status, told in found["responses"].items():
        if not status.startswith("2"):
            continue
        content = told.get("content")
        schema = content["application/json"]["schema"] if content else None
        responses |= parts.answer(_one_page(schema), int(status)) if schema else {status: {"description": "Done."}}
    for media_type in formats[1:]:
        responses["200"]["content"][media_type] = {"schema": parts.TEXT}
    if found["operationId"] == "startBackfill":
        responses = {**parts.answer({"$ref": _REF.format(name="Backfill")}), **responses}
    if method == "get":
        responses["200"]["headers"] = {"etag": {"description": "For `If-None-Match`.", "schema": parts.TEXT}}
        responses["304"] = {"description": "It has not changed since `If-None-Match`."}
    return responses | parts.problems(*_statuses(path, method, found, handler))


def _statuses(path: str, method: str, found: Part, handler: HTTPRouteHandler) -> set[int]:
    """Returns those of the problems that are to be expected of an operation."""
    statuses = {400, 401, 429, 503}
    statuses |= {406} if handler.resolve_guards() else set()
    statuses |= {403} if handler.opt.get("scope") else set()
    statuses |= {404} if "{" in path or path.startswith("/virtual/") else set()  # these are of virtual clients alone
    statuses |= {409, 413, 415, 422} if "requestBody" in found else set()
    statuses |= {409, 422} if method == "post" else set()
    statuses |= {409} if method == "delete" else set()
    statuses |= {502, 504} if method == "post" else set()
    statuses |= {422} if path.endswith("intervals") else set()
    statuses |= {409, 410, 422, 502, 504} if method == "get" and _READ_AT_VENDORS.fullmatch(path) else set()
    return statuses


def _one_page(schema: Part) -> Part:
    """Returns one schema where an answer has two, as lists of ids and of whole sites."""
    return schema["oneOf"][0] if "oneOf" in schema else schema


def _is_nullable(schema: Part) -> bool:
    alternatives: list[Part] = schema.get("oneOf", [])
    return {"type": "null"} in alternatives


def _never_null(schema: Part) -> Part:
    """Takes null out of what is left out instead."""
    for name in ("oneOf", "anyOf"):
        alternatives: list[Part] = schema.get(name, [])
        if {"type": "null"} in alternatives:
            rest = [one for one in alternatives if one != {"type": "null"}]
            others = {key: value for key, value in schema.items() if key not in (name, "default")}
            return {**others, **(rest[0] if len(rest) == 1 else {name: rest})}
    if isinstance(schema.get("type"), list):
        (kind,) = (one for one in schema["type"] if one != "null")
        schema = {**schema, "type": kind}
    if "enum" in schema:
        schema = {**schema, "enum": [one for one in schema["enum"] if one is not None]}
    return schema


def _schemas(handlers: Sequence[HTTPRouteHandler] | Any) -> Part:
    """Describes every struct that goes in or out."""
    roots = {one for handler in handlers for one in _structs_of(handler)}
    roots |= {Problem, EventData, WebhookPayload}
    ordered = sorted(roots, key=lambda one: one.__name__)
    _, found = msgspec.json.schema_components(ordered, ref_template=_REF)
    bodies = {one.__name__ for one in ordered if issubclass(one, Body)}
    schemas = {name: _schema(schema, is_answer=name not in bodies) for name, schema in sorted(found.items())}
    schemas.pop("ExpandedSitePage", None)
    entry = {**schemas["Site"], "title": "SiteEntry", "required": ["id"]}
    entry["description"] = "With `expand=true` all members of `Site`; else `id` alone."
    schemas["SiteEntry"] = entry
    schemas["SitePage"]["properties"]["sites"]["items"] = {"$ref": _REF.format(name="SiteEntry")}
    schemas["Event"]["properties"]["data"] = {"$ref": _REF.format(name="EventData")}
    return dict(sorted(schemas.items()))


def _structs_of(handler: HTTPRouteHandler) -> Iterator[type[Struct]]:
    data = handler.parsed_data_field
    waiting = [handler.parsed_return_field.annotation, *([data.annotation] if data is not None else [])]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, Struct):
            yield one
        waiting += get_args(one)


def _schema(schema: Part, *, is_answer: bool) -> Part:
    """Takes null out of what an answer leaves out when it is unknown; what it always has may be null.

    That a member of a body is null when left out is not said: it may be left out.
    """
    properties = {}
    for name, one in schema.get("properties", {}).items():
        is_optional = name not in schema.get("required", [])
        properties[name] = _never_null(one) if is_answer and is_optional else one
        if is_optional and (is_answer or one.get("default", "") is None):  # a generator would have it sent
            properties[name] = {key: value for key, value in properties[name].items() if key != "default"}
    kept = {key: value for key, value in schema.items() if key != "required" or value}
    return {**kept, "properties": properties} if properties else kept


def _webhooks() -> Mapping[str, Part]:
    """Describes what an endpoint gets: one webhook a type, signed as Standard Webhooks 1.0 says."""
    headers = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": parts.TEXT}
        for name, text in (
            ("webhook-id", "The event's id, the same over retries."),
            ("webhook-timestamp", "Epoch seconds of this attempt."),
            ("webhook-signature", "`v1,` and the HMAC-SHA256 of `id.timestamp.body`, in base64; two in a rotation."),
        )
    ]
    payload = {"$ref": _REF.format(name="WebhookPayload")}
    return {
        kind: {
            "post": {
                "operationId": "on" + "".join(part.capitalize() for part in kind.replace("_", ".").split(".")),
                "summary": kind,
                "description": text,
                "tags": ["Webhooks"],
                "security": [],
                "parameters": headers,
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"allOf": [payload, {"properties": {"type": {"const": kind}}}]}}
                    },
                },
                "responses": {"2XX": {"description": "Taken. Anything else is sent again."}},
            }
        }
        for kind, text in EVENT_TYPES.items()
    }
