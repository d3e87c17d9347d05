"""The owner's form against the simulator, through registry and guarded HTTP."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from joinder import Flow, Refresh
from joinder.errors import ConsentInvalid, DeviceIdentityChanged, TransientError
from joinder.http import HttpFactory
from joinder_iq_gateway import join as form
from joinder_iq_gateway.info import TOO_OLD
from joinder_iq_gateway.simulator import ADDRESS, SERIAL
from plugins.iqgateway.gateway import NOON, VENDOR, Bench, bench
from support import make_context

SLOW_MACHINE_S = 20.0  # what a loaded one may take on top


@pytest.fixture(autouse=True)
def short_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "PROOF_S", 1.0)


async def refused(bench: Bench, token: str | None = None, host: str = ADDRESS) -> dict[str, str]:
    with pytest.raises(ConsentInvalid) as error:
        await bench.join(token, host)
    return error.value.fields


def test_vendor_needs_no_authorize_url_and_no_refresh() -> None:
    assert (VENDOR.flow, VENDOR.refresh, VENDOR.hosts) == (Flow.FORM, Refresh.NONE, ())
    assert VENDOR.limits.history == ()


async def test_join_pins_address_and_certificate() -> None:
    async with bench() as one:
        consent = await one.join(name=" Roof ")
        grant = consent.grant
        assert consent.account_id == SERIAL
        assert grant.site_ids == (f"iqgw:{SERIAL}",)
        assert grant.expires_at is not None
        assert int(grant.expires_at.timestamp()) == int(NOON) + 31_536_000
        assert grant.facts["address"] == ADDRESS
        assert len(grant.facts["cert_sha256"]) == 64
        assert grant.facts["firmware"] == "8.3.5167"
        assert grant.facts["name"] == "Roof"
        assert all(isinstance(value, str) for value in grant.facts.values())
        assert grant.secrets["token"] not in repr(consent)


async def test_token_of_another_gateway_is_not_sent() -> None:
    async with bench() as one:
        fields = await refused(one, one.box.mint(aud="999999999999"))
        assert fields == {"host": form.NOT_THERE}
        assert one.box.requests == {"/info": 1}
        assert one.box.with_token == 0


@pytest.mark.parametrize("changes", [{"exp": int(NOON) - 1}, {"enphaseUser": "installer"}, {"iss": "Other"}])
async def test_hopeless_token_makes_no_request(changes: dict[str, object]) -> None:
    async with bench() as one:
        assert list(await refused(one, one.box.mint(**changes))) == ["token"]  # type: ignore[arg-type]
        assert not one.box.requests


async def test_forged_token_is_refused_by_the_box() -> None:
    async with bench() as one:
        forged = one.box.mint(key=ECKey.generate_key("P-256"))
        assert "does not accept this token" in (await refused(one, forged))["token"]


@pytest.mark.parametrize("fault", ["html", "5xx", "429", "cut", "lost"])
async def test_whatever_else_answers_gets_one_message(fault: str) -> None:
    async with bench() as one:
        await one.fault(fault, "/info")
        assert await refused(one) == {"host": form.NOT_THERE}
        assert one.box.with_token == 0


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("169.254.169.254", "lies in no network"),
        ("8.8.8.8", "lies in no network"),
        ("0x7f.1", "not an IP address"),
        ("", "not an IP address"),
    ],
)
async def test_what_was_typed_is_told_apart_without_a_packet(host: str, says: str) -> None:
    async with bench() as one:
        assert says in (await refused(one, host=host))["host"]
        assert not one.box.requests


async def test_a_name_gets_the_same_message_after_the_same_time_wherever_it_leads() -> None:
    async with bench() as one:
        started = time.monotonic()
        assert await refused(one, host="localhost") == {"host": form.NOT_THERE}
        assert 0.9 < time.monotonic() - started < SLOW_MACHINE_S
        assert not one.box.requests


async def test_a_server_without_allowed_networks_says_so() -> None:
    async with bench() as one:
        one.ctx = make_context(VENDOR, HttpFactory(), now=one.simulator.clock.now)
        assert "may not reach devices in any network" in (await refused(one))["host"]


async def test_slow_answer_is_cut_at_the_same_time() -> None:
    async with bench() as one:
        await one.fault("slow", "/info", seconds=2 * SLOW_MACHINE_S)
        started = time.monotonic()
        assert await refused(one) == {"host": form.NOT_THERE}
        assert time.monotonic() - started < SLOW_MACHINE_S


async def test_old_firmware_is_told_only_to_the_owner_of_that_box() -> None:
    async with bench() as one:
        one.box.firmware = "5.0.62"
        assert await refused(one) == {"host": TOO_OLD}
        assert await refused(one, one.box.mint(aud="999999999999")) == {"host": form.NOT_THERE}
        assert one.box.with_token == 0


async def test_info_with_entities_or_too_long_is_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "PROOF_S", 0.4)
    async with bench() as one:
        honest = one.box._info()
        bomb = b'<!DOCTYPE envoy_info [<!ENTITY a "aaaa">]>' + honest.split(b"\n", 1)[1]
        hidden = b"\xff\xfe" + bomb.decode().encode("utf-16-le")
        for body in (bomb, hidden, honest + b" " * 70_000, b"", b"null", b"<envoy_info/>", honest[:100]):
            monkeypatch.setattr(one.box, "_info", lambda body=body: body)
            assert await refused(one) == {"host": form.NOT_THERE}


async def test_failing_box_after_proof_is_not_the_owners_fault() -> None:
    async with bench() as one:
        await one.fault("5xx", "/ivp")
        await one.fault("5xx", "/api")
        with pytest.raises(TransientError):
            await one.join()


async def test_changed_certificate_sees_no_request(tmp_path: Path) -> None:
    async with bench() as old:
        grant = (await old.join()).grant
    async with bench() as new:
        with pytest.raises(DeviceIdentityChanged):
            await new.readings(grant)
        with pytest.raises(DeviceIdentityChanged):
            await new.site(grant)
        assert not new.box.requests
