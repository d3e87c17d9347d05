"""openapi.json: complete, valid 3.1, and free of what is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from click.testing import CliRunner
from openapi_spec_validator import validate
from sqlmodel import SQLModel

from api.fakes import connect_site, new_credentials
from joinder.commands.openapi import command
from joinder.errors import HealthState
from joinder.services.records.accounts import REVEAL, SCOPES
from joinder.services.records.event_types import EVENT_TYPES
from joinder.store import tables
from support import days_ago

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


def parameters(document: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
    shared = document["components"]["parameters"]
    found = operation.get("parameters", [])
    return [shared[one["$ref"].rsplit("/", 1)[-1]] if "$ref" in one else one for one in found]


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
        declared = [entry for entry in parameters(document, operation) if entry["in"] == "path"]
        assert {entry["name"] for entry in declared} == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert all(entry["required"] and "schema" in entry for entry in declared), (method, path)


async def test_parameters_have_the_names_of_the_wire(document: dict[str, Any]) -> None:
    names = {
        entry["name"] for _, _, operation in operations(document)
        for entry in parameters(document, operation) if entry["in"] == "query"
    }  # fmt: skip
    assert names == {"pageSize", "pageToken", "vendor", "vendorID", "vendorSiteID", "name", "includeSecrets", "status",
                     "health", "programID", "flowID", "expand", "provenance", "start", "end", "summaryLevel",
                     "enrollmentID", "type", "siteID", "reference", "state", "link", "code", "error",
                     "ui_locales",
                     "level", "timezone"}  # fmt: skip


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


PAGES = (
    *("startJoin", "startReconnect", "finishConsent", "showJoinForm", "submitJoinForm"),
    *("showConnection", "askToEndConnection", "endConnection", "showReceipt"),
)
OAUTH = ("createAccessToken", "revokeAccessToken", "introspectAccessToken")


async def test_every_operation_says_what_its_errors_look_like(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        if operation["operationId"] in PAGES:
            continue
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        for status, answer in operation["responses"].items():
            assert status[0] in "23d" or "$ref" in answer or operation["operationId"] in OAUTH
    for response in document["components"]["responses"].values():
        reference = response["content"]["application/problem+json"]["schema"]["$ref"]
        assert reference == "#/components/schemas/Problem"
    assert set(document["components"]["schemas"]["Problem"]["required"]) >= {"type", "title", "status", "detail"}


async def test_what_an_operation_answers_is_declared(
    document: dict[str, Any], api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    """Generated clients take what is declared alone for what they know."""
    site_id, credentials_id = await connect_site(api, browser), await new_credentials(api)
    turned = {"start": f"{days_ago(1)}T00:00:00Z", "end": f"{days_ago(2)}T00:00:00Z"}
    answers = {
        "/virtual/sites": await api.get("/virtual/sites"),
        "/sites/{site_id}/solar-intervals": await api.get(f"/sites/{site_id}/solar-intervals", params=turned),
        "/aggregates/intervals": await api.get("/aggregates/intervals", params=turned),
        "/sites/{site_id}/battery-intervals": await api.get(f"/sites/{site_id}/live", headers={"accept": "text/x"}),
        "/vendor-credentials/{credentials_id}/quota": await api.get(
            f"/vendor-credentials/{credentials_id}/quota", headers={"accept": "text/csv"}
        ),
    }
    assert [answer.status_code for answer in answers.values()] == [404, 422, 422, 406, 406]
    for path, answer in answers.items():
        assert str(answer.status_code) in document["paths"][path]["get"]["responses"], path
    asked_of_vendors = [
        path for path in document["paths"]
        if path.endswith(("/live", "intervals", "/sites/{site_id}")) and path.startswith(("/sites", "/batteries"))
    ]  # fmt: skip
    assert len(asked_of_vendors) == 7
    for path in asked_of_vendors:
        assert {"409", "410", "422", "502", "504"} <= set(document["paths"][path]["get"]["responses"]), path
    assert not {"502", "504"} & set(document["paths"]["/aggregates/intervals"]["get"]["responses"])


async def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)


async def test_an_answer_has_one_schema_and_says_null_only_where_null_is_said(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                is_one = "$ref" in content["schema"] or content["schema"].get("type")
                assert is_one, (operation["operationId"], status, media_type)
    for name, schema in document["components"]["schemas"].items():
        nullable = {member for member, one in schema.get("properties", {}).items() if '"null"' in json.dumps(one)}
        is_request = schema.get("additionalProperties") is False
        assert is_request or nullable == ({"start"} if name == "Production" else set()), name


async def test_tokens_scopes_and_public_operations_are_told(document: dict[str, Any]) -> None:
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert set(flow["scopes"]) == {*SCOPES, REVEAL}
    needed = set()
    for path, method, operation in operations(document):
        if operation["operationId"] in OAUTH:
            continue
        is_public = path.startswith(("/health", "/.well-known")) or operation["operationId"] in PAGES
        assert (operation["security"] == []) is is_public, (method, path)
        needed |= {scope for one in operation["security"] for scopes in one.values() for scope in scopes}
    assert needed == set(SCOPES)


async def test_times_are_times_and_closed_sets_are_closed(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for member, one in schema.get("properties", {}).items():
            if re.search(r"(At|Since|Until)$|^(start|end|since|timestamp|asOf)$", member):
                assert "date-time" in json.dumps(one), (name, member)
    assert schemas["Health"]["properties"]["state"]["enum"] == list(get_args(HealthState))
    assert schemas["Event"]["properties"]["type"]["enum"] == list(EVENT_TYPES) == list(document["webhooks"])


async def test_the_command_prints_what_the_server_answers(document: dict[str, Any], tmp_path: Path) -> None:
    printed = CliRunner().invoke(command, [])
    assert (printed.exit_code, json.loads(printed.stdout)) == (0, document)
    written = tmp_path / "openapi.json"
    assert CliRunner().invoke(command, ["--output", str(written)]).exit_code == 0
    assert json.loads(written.read_text()) == document


NO_ANSWER_TELLS = {  # what these take: a vendor's name, a token of a page, an act's name, an id that is never made
    *("finishConsent", "showJoinForm", "submitJoinForm", "runOperatorAction", "getJoinSessionToken"),
}


def pointed_to(document: dict[str, Any], response: dict[str, Any], pointer: str) -> dict[str, Any]:
    """The schema of the place in an answer's body. Raises KeyError where it says of none."""
    schema = resolved(document, response["content"]["application/json"]["schema"])
    for part in pointer.split("/"):
        schema = resolved(document, schema["items"] if part == "0" else schema["properties"][part])
    return schema


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


async def test_whatever_takes_an_id_is_linked_from_an_answer_that_tells_it(document: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: (path, operation) for path, _, operation in operations(document)}
    linked = set()
    for path, _, operation in operations(document):
        for response in operation["responses"].values():
            for reference in response.get("links", {}).values():
                link = document["components"]["links"][reference["$ref"].rsplit("/", 1)[-1]]
                target_path, target = by_id[link["operationId"]]
                assert set(link["parameters"]) == set(re.findall(r"{(\w+)}", target_path)), link
                assert target is not operation
                for name, expression in link["parameters"].items():
                    source, _, place = expression.partition("#/" if "#" in expression else "path.")
                    if source == "$request.":
                        assert f"{{{place}}}" in path, (path, name, expression)
                    else:
                        assert pointed_to(document, response, place)["type"] == "string", (path, expression)
                linked.add(link["operationId"])
    takers = {name for name, (path, _) in by_id.items() if "{" in path}
    assert takers - linked == NO_ANSWER_TELLS


async def test_what_is_made_leads_to_where_it_is_shown_and_ends(document: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    for made, status in {"createWebhook": "201", "createProgram": "201", "startBackfill": "201"}.items():
        links = by_id[made]["responses"][status]["links"]
        kind = made.removeprefix("create").removeprefix("start")
        assert {f"get{kind}", f"{'cancel' if kind == 'Backfill' else 'delete'}{kind}"} <= set(links)
