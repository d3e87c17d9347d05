"""What an earlier, or a later, version of a plugin stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import structs

from joinder.errors import AuthorizationLost, OperatorActionNeeded, PluginBug
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.grants.refresh import refresh
from joinder.services.records.opened_grant import open_for_call
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_refresh import grant_of, token_of

Migrated = tuple[Secrets, Mapping[str, str]]


def renamed(secrets: Secrets, facts: Mapping[str, str], from_version: int) -> Migrated:
    return Secrets({**secrets, "made_from": str(from_version)}), {**facts, "region": "eu"}


def upgrade(hub: Hub, vendor: StrictVendor, **facts: Any) -> None:
    hub.registry.change(vendor.name, lambda described: structs.replace(described, **facts))


async def test_an_older_grant_is_brought_up_to_date_and_stored_so(
    hub: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    upgrade(hub, vendor, grant_version=3, migrate=renamed)
    opened = await open_for_call(hub, enrollment_id)
    assert (opened.grant.secrets["made_from"], opened.grant.made_as) == ("1", 3)
    assert dict(opened.grant.facts)["region"] == "eu"
    row = await grant_of(hub, enrollment_id)
    upgrade(hub, vendor, migrate=None)  # nothing of it is asked again
    assert (await open_for_call(hub, enrollment_id)).grant.secrets["made_from"] == "1"
    assert row.version == 1  # no token came: its lineage is as it was
    await refresh(hub, enrollment_id)
    assert await token_of(hub, enrollment_id) == "ada#2"
    assert (await open_for_call(hub, enrollment_id)).grant.made_as == 3


def broken(secrets: Secrets, facts: Mapping[str, str], from_version: int) -> Migrated:
    raise ValueError("canary-of-the-plugin")


def nothing(secrets: Secrets, facts: Mapping[str, str], from_version: int) -> Any:
    return None


def no_text(secrets: Secrets, facts: Mapping[str, str], from_version: int) -> Any:
    return {"refresh_token": 7}, facts


@pytest.mark.parametrize(
    ("facts", "error", "text"),
    [
        ({"grant_version": 2}, AuthorizationLost, "the owner must consent again"),
        ({"grant_version": 2, "migrate": broken}, PluginBug, "failed to migrate a grant of version 1"),
        ({"grant_version": 2, "migrate": nothing}, PluginBug, "failed to migrate a grant of version 1"),
        ({"grant_version": 2, "migrate": no_text}, PluginBug, "no Secrets"),
        ({"grant_version": 0}, OperatorActionNeeded, "install that version again"),
    ],
)
async def test_a_grant_that_cannot_be_read_says_who_must_act_and_stays(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, facts: dict[str, Any], error: type[Exception], text: str
) -> None:
    enrollment_id = await enroll("ada")
    before = await grant_of(hub, enrollment_id)
    upgrade(hub, vendor, **facts)
    with pytest.raises(error, match=text) as caught:
        await refresh(hub, enrollment_id)
    assert "canary" not in f"{caught.value} {getattr(caught.value, 'detail', '')}"
    assert vendor.exchanges == 0  # the token is not spent
    assert (await grant_of(hub, enrollment_id)).sealed == before.sealed
    upgrade(hub, vendor, grant_version=1, migrate=None)  # the right version is back
    assert (await open_for_call(hub, enrollment_id)).grant.secrets["refresh_token"] == "ada#1"
