"""An owner's key becomes a grant, or a sentence that says who must do what."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from joinder import Callback, Secrets
from joinder.errors import ConsentInvalid, NotSupported, OperatorActionNeeded, RateLimited, TransientError
from joinder_solis import VENDOR
from joinder_solis.api import sign
from joinder_solis.simulator import EMPTY, GRANTS, HOME, OLDER, TWO
from support import make_context


async def test_ids_of_19_digits_stay_texts(stand: Any) -> None:
    consent = await stand.consent(TWO)
    assert consent.grant.site_ids == (HOME.id, OLDER.id)
    assert consent.account_id == TWO["keyID"]
    assert TWO["keySecret"] not in repr(consent)


async def test_a_key_the_operator_stored_opens_the_same(stand: Any) -> None:
    app = {"vendor": "solis", "type": "apikeysecret", **TWO}
    ctx = make_context(VENDOR, stand.factory, app=app, now=stand.server_clock)
    consent = await stand.registry.handle_callback("solis", ctx, Callback(values=Secrets({})))
    assert consent == await stand.consent(TWO)


async def test_spaces_around_a_pasted_key_are_cut(stand: Any) -> None:
    consent = await stand.consent({name: f" {value}\n" for name, value in GRANTS.items()})
    assert consent.grant.site_ids == (HOME.id,)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (EMPTY, "keyID"),
        ({**GRANTS, "keySecret": "another"}, "keySecret"),
        ({**GRANTS, "keySecret": "schlüssel"}, "keySecret"),
        ({**GRANTS, "keyID": "99"}, "keySecret"),
        ({**GRANTS, "keyID": "１３０"}, "keyID"),
        ({**GRANTS, "keyID": "13\u200b00"}, "keyID"),
        ({**GRANTS, "keyID": "13\r\nx: 00"}, "keyID"),
        ({**GRANTS, "keyID": " "}, "keyID"),
        ({}, "keyID"),
    ],
)
async def test_a_key_the_owner_can_correct(stand: Any, form: dict[str, str], field: str) -> None:
    with pytest.raises(ConsentInvalid) as caught:
        await stand.consent(form)
    assert list(caught.value.fields) == [field]
    assert GRANTS["keySecret"] not in str(caught.value)


@pytest.mark.parametrize("minutes", [-16, 16])
async def test_a_wrong_server_clock_is_the_operators(stand: Any, minutes: int) -> None:
    def wrong() -> datetime:
        return stand.cloud.clock.now() + timedelta(minutes=minutes)

    with pytest.raises(OperatorActionNeeded, match="clock"):
        await replace(stand, server_clock=wrong).consent()


async def test_a_clock_within_its_tolerance(stand: Any) -> None:
    def late() -> datetime:
        return stand.cloud.clock.now() - timedelta(minutes=14)

    assert (await replace(stand, server_clock=late).consent()).grant.site_ids


async def test_an_outage_is_nobodys_key(open_stand: Any) -> None:
    async with open_stand(outage=True) as stand:
        with pytest.raises(TransientError):
            await stand.consent()


async def test_a_used_up_quota_waits(open_stand: Any) -> None:
    async with open_stand(quota=1) as stand:
        grant = (await stand.consent()).grant
        with pytest.raises(RateLimited) as caught:
            await stand.site(grant)
        assert caught.value.retry_after is not None


async def test_a_plant_the_key_may_not_see_is_not_found(stand: Any) -> None:
    """SolisCloud answers it with success and zeros."""
    grant = replace((await stand.consent()).grant, site_ids=(OLDER.id,))
    with pytest.raises(NotSupported):
        await stand.site(grant)


async def test_the_cloud_checks_the_bytes_it_receives(stand: Any) -> None:
    """So the other tests prove that the plugin sends exactly what it hashed."""
    body, date = b'{"pageNo":1,"pageSize":100}', format_datetime(stand.cloud.clock.now(), usegmt=True)
    md5, signature = sign(GRANTS["keySecret"], "/v1/api/userStationList", body, date)
    headers = {"content-md5": md5, "date": date, "authorization": f"API {GRANTS['keyID']}:{signature}"}
    spaced = body.replace(b",", b", ")
    statuses = [
        (await stand.tester.post("/v1/api/userStationList", content=sent, headers=headers)).status_code
        for sent in (body, spaced)
    ]
    assert statuses == [200, 403]
