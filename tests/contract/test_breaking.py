"""A client written for the last release works with this version: docs/openapi.json is the last release's document."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from contract.breaking import RELEASED, breaks
from joinder.api.app import openapi_document

Document = dict[str, Any]


def test_nothing_breaks_since_the_last_release() -> None:
    assert breaks(json.loads(RELEASED.read_text()), openapi_document()) == []


def schema(document: Document, name: str) -> Any:
    return document["components"]["schemas"][name]


def operation(document: Document, method: str, path: str) -> Any:
    return document["paths"][path][method]


DELIBERATE: dict[str, tuple[Callable[[Document], object], str]] = {
    "an operation goes": (lambda d: d["paths"].pop("/vendors"), "GET /vendors: is gone"),
    "an operation is renamed": (
        lambda d: operation(d, "get", "/sites").update(operationId="allSites"),
        "GET /sites: operationId listSites is allSites now",
    ),
    "a member of an answer goes": (
        lambda d: schema(d, "Site")["properties"].pop("name"),
        "GET /sites/{site_id}: 200/name is gone",
    ),
    "a member of an answer is of another type": (
        lambda d: schema(d, "Enrollment")["properties"].update(sitesRead={"type": "string"}),
        "GET /enrollments/{enrollment_id}: 200/sitesRead may be string now",
    ),
    "a member of an answer may be null": (
        lambda d: schema(d, "Site")["properties"].update(name={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "GET /sites/{site_id}: 200/name may be null now",
    ),
    "a member of an answer may be absent": (
        lambda d: schema(d, "Backfill")["required"].remove("percent"),
        "GET /backfills/{backfill_id}: 200/percent may be absent now",
    ),
    "a parameter goes": (
        lambda d: operation(d, "get", "/sites")["parameters"].pop(0),
        "GET /sites: parameter vendor is gone",
    ),
    "a parameter is needed": (
        lambda d: operation(d, "get", "/sites")["parameters"][0].update(required=True),
        "GET /sites: parameter vendor is required now",
    ),
    "fewer values are taken": (
        lambda d: operation(d, "get", "/backfills")["parameters"][1]["schema"]["enum"].remove("done"),
        "GET /backfills: parameter status takes fewer values",
    ),
    "pages get shorter": (
        lambda d: next(p for p in operation(d, "get", "/sites")["parameters"] if p.get("name") == "pageSize")[
            "schema"
        ].update(maximum=100),
        "GET /sites: parameter pageSize is at most 100 now",
    ),
    "a member of a request is needed": (
        lambda d: schema(d, "NewWebhook")["required"].append("types"),
        "POST /webhooks: body/types is required now",
    ),
    "a member of a request is not taken": (
        lambda d: schema(d, "NewFlow")["properties"].pop("redirectURI"),
        "POST /join/flows: body/redirectURI is not taken any more",
    ),
    "a scope is needed": (
        lambda d: operation(d, "get", "/vendors").update(security=[{"oauth2": ["read:sites"]}]),
        "GET /vendors: needs the scope read:sites now",
    ),
    "a status changes": (
        lambda d: operation(d, "post", "/webhooks")["responses"].pop("201"),
        "POST /webhooks: 201 is gone",
    ),
    "a webhook goes": (lambda d: d["webhooks"].pop("site.ready"), "webhook site.ready: is gone"),
}


@pytest.mark.parametrize("what", DELIBERATE)
def test_a_deliberate_break_is_seen(what: str) -> None:
    change, said = DELIBERATE[what]
    broken = deepcopy(openapi_document())
    change(broken)
    assert said in breaks(openapi_document(), broken)
    assert said not in breaks(broken, openapi_document())


def test_more_of_anything_breaks_nothing() -> None:
    more = deepcopy(openapi_document())
    schema(more, "Site")["properties"]["colour"] = {"type": "string"}
    schema(more, "Site")["required"].append("colour")
    schema(more, "NewWebhook")["properties"]["note"] = {"type": "string"}
    operation(more, "get", "/sites")["parameters"].append(
        {"name": "colour", "in": "query", "required": False, "schema": {"type": "string"}}
    )
    more["paths"]["/colours"] = {"get": operation(more, "get", "/vendors")}
    schema(more, "Enrollment")["properties"]["status"]["enum"].append("new")
    assert breaks(openapi_document(), more) == []
