"""openapi.json: complete, valid 3.1, and free of what is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlmodel import SQLModel

from joinder.store import tables

DATABASES = ("sqlite",)  # nothing here depends on the database

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


@pytest.fixture
async def document(anonymous: httpx.AsyncClient) -> dict[str, Any]:
    answer = await anonymous.get("/openapi.json")
    assert answer.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for entry in value.values():
            yield from references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


async def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"] == "Joinder"
    assert document["info"]["version"]
    for path in document["paths"]:
        assert path.startswith("/")
        assert path == "/" or not path.endswith("/")


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document["paths"])) | set(references(document["components"]))
    assert found
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


async def test_every_operation_says_what_it_is_for(document: dict[str, Any]) -> None:
    listed = list(operations(document))
    assert len(listed) > 30
    ids = [operation["operationId"] for _, _, operation in listed]
    assert len(set(ids)) == len(ids)
    for path, method, operation in listed:
        assert operation.get("summary"), (method, path)
        assert operation.get("tags"), (method, path)
        assert operation["responses"], (method, path)
        assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in operation["responses"]), (method, path)


async def test_every_parameter_of_a_path_is_declared(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        declared = [entry for entry in operation.get("parameters", []) if entry["in"] == "path"]
        assert {entry["name"] for entry in declared} == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert all(entry["required"] and "schema" in entry for entry in declared), (method, path)


async def test_parameters_have_the_names_of_the_wire(document: dict[str, Any]) -> None:
    names = {
        entry["name"] for _, _, operation in operations(document)
        for entry in operation.get("parameters", []) if entry["in"] == "query"
    }  # fmt: skip
    assert names == {"pageSize", "pageToken", "vendor", "vendorID", "vendorSiteID", "name", "includeSecrets", "status",
                     "health", "programID", "flowID", "expand", "provenance", "start", "end", "summaryLevel",
                     "enrollmentID", "type", "siteID", "reference", "state"}  # fmt: skip


async def test_members_have_the_names_of_the_wire(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        for name in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z][A-Za-z]*", name), name
            assert not re.search(r"(Id|Uri|Utc|Url)(s?$|[A-Z])", name), name


async def test_success_codes_are_those_the_upstream_client_checks(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        success = {status for status in operation["responses"] if status.startswith("2")}
        if method == "delete":
            assert success == {"204"}, path
        elif path in ("/vendor-credentials", "/join/flows", "/webhooks") and method == "post":
            assert success == {"201"}, path


async def test_nothing_of_the_tables_is_in_it(document: dict[str, Any]) -> None:
    models = [cls for cls in vars(tables).values() if isinstance(cls, type) and issubclass(cls, SQLModel)]
    stored = {column.name for cls in models if hasattr(cls, "__table__") for column in cls.__table__.columns}
    secret = {name for name in stored if name.endswith(("_sealed", "_hash")) or name in ("sealed", "wrapped")}
    assert len(secret) >= 6
    text = json.dumps(document)
    for name in secret | {"account_id", "cookie_hash", "intent_id", "lease"}:
        assert f'"{name}"' not in text
    assert not re.search(r'"[a-z]+_[a-z_]+":', json.dumps(document["components"]["schemas"]))
    for name in ("GrantRow", "DataKey", "SigningKey", "SiteRow", "ApiClient", "SQLModel"):
        assert name not in text


async def test_it_is_the_only_page_of_documentation(anonymous: httpx.AsyncClient) -> None:
    """Litestar would serve pages that load scripts and fonts from third parties."""
    for path in ("/docs/api", "/docs/api/", "/docs/api/swagger", "/docs/api/openapi.json", "/schema", "/schema/redoc"):
        assert (await anonymous.get(path)).headers["content-type"] == "application/problem+json", path


async def test_every_operation_says_what_its_errors_look_like(anonymous: httpx.AsyncClient) -> None:
    schema = (await anonymous.get("/openapi.json")).json()
    answers = [operation["responses"] for path in schema["paths"].values() for operation in path.values()]
    assert answers
    for answer in answers:
        reference = answer["default"]["content"]["application/problem+json"]["schema"]["$ref"]
        assert reference == "#/components/schemas/Problem"
    assert set(schema["components"]["schemas"]["Problem"]["required"]) >= {"type", "title", "status", "detail"}
