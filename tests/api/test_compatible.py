"""A client of Derapi finds nothing of what it would not know, by whatever path."""

from __future__ import annotations

import re

import httpx

from api.conftest import NewTenant
from api.fakes import Tenant, assert_problem, connect_site, new_credentials
from api.test_openapi import document, operations

__all__ = ["document"]  # a fixture


async def test_what_is_of_vendors_it_does_not_know_is_not_there_by_its_id(
    document: dict[str, object], tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    site_id = await connect_site(tenant.api, browser)
    site = (await tenant.api.get(f"/sites/{site_id}")).json()
    ids = {
        "site_id": site_id,
        "enrollment_id": site["enrollmentID"],
        "credentials_id": await new_credentials(tenant.api),
        "/solar-inverters": site["solarInverters"][0]["id"],
        "/batteries": site["batteries"][0]["id"],
        "/meters": site["meters"][0]["id"],
    }
    compatible = (await new_tenant(account_id=tenant.account_id, compatible=True)).api
    asked = set()
    for path, method, _ in operations(document):
        name = next(iter(re.findall(r"\{(\w+)\}", path)), "")
        given = ids.get("/" + path.split("/")[1] if name == "device_id" else name)
        if given is None or path.startswith("/virtual"):
            continue
        known, unknown = [
            await compatible.request(method, re.sub(r"\{\w+\}", "x", path.replace(f"{{{name}}}", one, 1)))
            for one in (given, f"{given[:5]}aaaaaaaaaaaaaaaa")
        ]
        seen = assert_problem(known, 404, "not-found")
        assert method != "get" or seen | {"instance": ""} == unknown.json() | {"instance": ""}, path
        asked.add(path)
    assert {"/sites/{site_id}/live", "/meters/{device_id}/intervals", "/enrollments/{enrollment_id}/tokens"} <= asked
    assert (await tenant.api.get(f"/enrollments/{site['enrollmentID']}")).json()["status"] == "enrolled"
