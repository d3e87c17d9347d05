"""Regions, registration, and Tesla's single-use tokens with their day of grace, against the simulator."""

from __future__ import annotations

import base64
import json

import pytest

from joinder.errors import AuthorizationLost, ConsentInvalid, OperatorActionNeeded, TransientError
from joinder.testing.subject import Stand, Subject, standing
from joinder_tesla import api
from joinder_tesla.simulator import EU, NA, Cloud, simulator


def subject(cloud: Cloud | None = None) -> Subject:
    found = Subject.installed("tesla")
    found.make_simulator = lambda: simulator(cloud or Cloud())
    return found


async def test_an_account_of_europe_is_read_there() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent(await stand.callback(owner="two-sites"))).grant
        assert grant.facts == {"base": f"https://{EU}"}
        assert len(grant.site_ids) == 2  # the car is no site


async def test_a_wrong_region_costs_one_more_call() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent(await stand.callback(owner="two-sites"))).grant
        moved = type(grant)(**{**vars(grant), "facts": {"base": f"https://{NA}"}})
        site = await stand.registry.fetch_site("tesla", stand.context(), moved, grant.site_ids[0])
        assert site.name == "Tesla house"
        assert (await stand.state())["calls"]["site_info"] == 2


async def test_a_region_tesla_does_not_have_is_not_followed() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent()).grant
        body = json.dumps({"error": "user out of region, use base URL: https://evil.example, see x"})
        await stand.fault("answer", status=421, body=body)
        with pytest.raises(Exception, match="421") as caught:
            await stand.registry.fetch_site("tesla", stand.context(), grant, grant.site_ids[0])
        assert "evil" not in str(caught.value)


async def test_the_operator_registers_once_and_every_region_is_open() -> None:
    async with standing(subject(Cloud(registered=()))) as stand:
        callback = await stand.callback()
        with pytest.raises(OperatorActionNeeded, match="register"):
            await stand.registry.handle_callback("tesla", stand.context(), callback)
        action = stand.vendor.operator_action("register")
        assert action is not None
        for _ in range(2):
            said = await stand.registry.act("tesla", stand.context(), action, {"domain": "Hub.Example "})
        assert said.startswith("hub.example is registered in north america and europe")
        assert (await stand.state())["registered"] == sorted([NA, EU])
        assert (await stand.consent()).grant.site_ids


@pytest.mark.parametrize(("status", "text"), [(424, "could not fetch the public key"), (422, "allowed origin")])
async def test_a_refused_registration_says_what_to_do(status: int, text: str) -> None:
    async with standing(subject()) as stand:
        action = stand.vendor.operator_action("register")
        assert action is not None
        await stand.fault("answer", status=status, path="/api/1/partner_accounts")
        with pytest.raises(OperatorActionNeeded, match=text):
            await stand.registry.act("tesla", stand.context(), action, {"domain": "hub.example"})


async def test_an_account_without_energy_is_no_consent() -> None:
    async with standing(subject()) as stand:
        with pytest.raises(ConsentInvalid, match="no energy site"):
            await stand.registry.handle_callback("tesla", stand.context(), await stand.callback(owner="no-sites"))


async def refreshed_twice(stand: Stand, hours: float) -> None:
    """The same token again, some hours after it was used."""
    grant = (await stand.consent()).grant
    await stand.registry.refresh("tesla", stand.context(), grant)
    stand.clock.freeze(stand.clock.time() + hours * 3600)
    await stand.registry.refresh("tesla", stand.context(), grant)


async def test_a_lost_answer_can_be_asked_for_again_for_a_day() -> None:
    async with standing(subject()) as stand:
        await refreshed_twice(stand, 23)


async def test_after_the_day_the_owner_must_consent_again() -> None:
    async with standing(subject()) as stand:
        with pytest.raises(AuthorizationLost):
            await refreshed_twice(stand, 25)


async def test_a_server_error_with_status_400_is_passing() -> None:
    async with standing(subject(Cloud(server_errors=1))) as stand:
        grant = (await stand.consent()).grant
        with pytest.raises(TransientError):
            await stand.registry.refresh("tesla", stand.context(), grant)
        await stand.registry.refresh("tesla", stand.context(), grant)


async def test_no_secret_goes_with_a_refresh() -> None:
    async with standing(subject()) as stand:
        grant = (await stand.consent()).grant
        sent: list[dict[str, str]] = []
        request = stand.factory.vendor(stand.vendor.hosts).request

        async def noted(method: str, url: str, **options: object) -> object:
            sent.append(dict(options["form"]))  # type: ignore[call-overload]
            return await request(method, url, **options)  # type: ignore[arg-type]

        stand.factory.vendor(stand.vendor.hosts).request = noted  # type: ignore[method-assign, assignment]
        await stand.registry.refresh("tesla", stand.context(), grant)
        assert [sorted(form) for form in sent] == [["client_id", "grant_type", "refresh_token"]]


def jwt(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{part}.signature"


@pytest.mark.parametrize(
    ("token", "account"),
    [
        (jwt({"sub": "abc"}), "abc"),
        (jwt({}), None),
        (jwt([1]), None),
        (jwt({"sub": 7}), None),
        ("opaque", None),
        ("a.é.b", None),
    ],
)
def test_the_account_is_told_by_the_token(token: str, account: str | None) -> None:
    assert api.subject(token) == account


@pytest.mark.parametrize(("code", "host"), [("EU_1", EU), ("NA_1", NA), ("CN_1", NA), ("", NA)])
def test_the_region_of_a_code(code: str, host: str) -> None:
    assert api.base_of_code(code) == f"https://{host}"
