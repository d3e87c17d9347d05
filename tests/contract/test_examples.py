"""The examples of the document are what the server answers: each is asked again here, and fits its schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.conftest import NewTenant, anonymous, app, apps, browser, hub, new_browser, new_tenant
from api.fakes import EVERYTHING, Tenant, Vendors
from api.test_openapi import PAGES
from api.test_reads import Clock, clock
from contract.examples import AT, FILE, World, record
from joinder.api.app import openapi_document
from joinder.runtime.hub import Hub
from joinder.services.records import accounts

__all__ = ["anonymous", "app", "apps", "browser", "clock", "hub", "new_browser", "new_tenant"]
DATABASES = ("sqlite",)
REFUSED = ("createJoinSession", "getJoinSessionToken", "getSiteBatteryControl", "putSiteBatteryControl")  # always


@pytest.fixture
def public_url() -> str:
    return "https://hub.example"


@pytest.fixture
def vendors() -> Vendors:
    return World()


@pytest.fixture
async def tenant(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(EVERYTHING)


@pytest.fixture
async def virtual_tenant(new_tenant: NewTenant, clock: Clock) -> Tenant:
    clock.at = AT  # its own programme begins with it
    return await new_tenant(mode=accounts.VIRTUAL)


async def test_the_examples_are_what_the_server_answers(
    hub: Hub, tenant: Tenant, virtual_tenant: Tenant, browser: httpx.AsyncClient, clock: Clock
) -> None:
    """Where this fails after a change that is meant: `make examples`, and read the difference."""
    found = await record(hub, tenant, virtual_tenant, browser, clock, openapi_document())
    if os.environ.get("RECORD_EXAMPLES"):
        FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    stored = json.loads(FILE.read_text())
    assert found.keys() == stored.keys()
    for operation_id, example in found.items():
        assert example == stored[operation_id], operation_id


def examples() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Operation id, schema and example of every body of a request and of an answer that the document shows."""
    for item in openapi_document()["paths"].values():
        for operation in item.values():
            for media_type in operation.get("requestBody", {}).get("content", {}).values():
                if "example" in media_type:
                    yield operation["operationId"], media_type["schema"], media_type["example"]
            for answer in operation["responses"].values():
                for media_type in answer.get("content", {}).values():
                    if "example" in media_type:
                        yield operation["operationId"], media_type["schema"], media_type["example"]


def test_every_example_fits_its_schema() -> None:
    document = openapi_document()
    listed = list(examples())
    assert len(listed) > 60
    for operation_id, schema, example in listed:
        strict = {"components": document["components"], **schema, "$id": "urn:joinder"}
        errors = list(Draft202012Validator(strict).iter_errors(example))
        assert errors == [], (operation_id, errors)


def test_every_operation_has_an_example() -> None:
    known = {item["operationId"] for items in openapi_document()["paths"].values() for item in items.values()}
    asked = set(json.loads(FILE.read_text()))
    assert asked == known - {*PAGES, *REFUSED}, "a line in tests/contract/examples.py, then `make examples`"
