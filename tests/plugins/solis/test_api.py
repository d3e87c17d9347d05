"""Signature, envelope and errors of SolisCloud, by document V2.0 and what clients report."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from joinder.errors import (
    AuthorizationLost,
    NotSupported,
    OperatorActionNeeded,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer
from joinder_solis.api import Record, opened, sign
from support import shared

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


def test_the_vendors_own_vector() -> None:
    """Document V1.2 §2.2, reprinted in V2.0 §2.4; the key is the vendor's published example."""
    md5, signature = sign(
        "6680182547", "/v1/api/userStationList", b'{"pageNo":1,"pageSize":10}', "Fri, 26 Jul 2019 06:00:46 GMT"
    )
    assert (md5, signature) == ("kxdxk7rbAsrzSIWgEwhH4w==", "nBYQWeuzy3Y+gp67BN8zXTmvSDk=")


def test_the_vector_of_a_running_client() -> None:
    """hultenvp/soliscloud_api, test/test_private_methods.py."""
    md5, signature = sign("DEADBEEF" * 4, "TEST", b'{"pageNo":1,"pageSize":100}', "Sun, 01 Jan 2023 00:00:00 GMT")
    assert (md5, signature) == ("U0Xj//qmRi3zoyapfAAuXw==", "8+oYgqSEFjxPaHIOgUKSpIdYCGU=")


def test_every_stored_vector_that_is_one() -> None:
    vectors = json.loads(shared("payloads/solis/signature_vectors.json").read_text())
    checked = 0
    for vector in vectors:
        md5, signature = sign(vector["key_secret"], vector["resource"], vector["body"].encode(), vector["date"])
        assert md5 == vector["content_md5"]
        if vector.get("verified_here") is True:
            assert signature == vector["sign"]
            checked += 1
    assert checked == 2


def envelope(code: object, msg: str = "", **more: object) -> bytes:
    return json.dumps({"success": True, "code": code, "msg": msg, "data": None, **more}).encode()


ROWS: list[tuple[int, bytes, type[VendorError]]] = [
    (408, b"", OperatorActionNeeded),
    (403, b"", AuthorizationLost),
    (401, b"", AuthorizationLost),
    (429, b"", RateLimited),
    (502, b"<html>", TransientError),
    (504, b"", TransientError),
    (200, envelope("1", "数据异常 请联系管理员"), TransientError),
    (200, envelope("1", "Communication error. Please refresh and try again later", success=False), TransientError),
    (200, envelope(1, ""), TransientError),
    (200, envelope("R0000", "No authority too many request 200 times in 1DAYS"), RateLimited),
    (200, envelope("R0000", "No authority"), AuthorizationLost),
    (200, envelope("B0001", "bound to another user"), NotSupported),
    (200, envelope("B0049", "collector does not exist or no permission"), NotSupported),
    (200, envelope("I0000", "parameter is empty"), UnexpectedPayload),
    (200, envelope("I0003", "SN is empty"), UnexpectedPayload),
    (200, envelope("B0011", "user does not exist"), AuthorizationLost),
    (200, envelope("I0012", "bad account or password"), AuthorizationLost),
    (200, envelope("Z9999", "never heard of"), UnexpectedPayload),
    (200, envelope("Z9999", "数据异常"), TransientError),
    (200, envelope("I0003", "数据异常"), UnexpectedPayload),
    (200, envelope("B0011", "数据异常"), AuthorizationLost),
    (200, b'{"success": true}', UnexpectedPayload),
    (200, b"<html>", UnexpectedPayload),
    (404, b"", UnexpectedPayload),
]


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_class_of_each_answer(status: int, body: bytes, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        opened(Answer(status, {}, body, "POST www.soliscloud.com/v1/api/x"), NOW)
    assert type(caught.value) is expected
    for word in ("数据", "Communication", "too many request", "collector", "never heard"):
        assert word not in f"{caught.value}{caught.value.detail}"


def test_a_daily_quota_waits_for_the_next_day() -> None:
    body = envelope("R0000", "No authority too many request 200 times in 1DAYS")
    with pytest.raises(RateLimited) as caught:
        opened(Answer(200, {}, body, "POST x"), NOW)
    assert caught.value.retry_after == timedelta(hours=6)


@pytest.mark.parametrize("code", ["0", 0])
def test_only_the_code_tells_success(code: object) -> None:
    body = json.dumps({"success": False, "code": code, "msg": "成功", "data": [1]}).encode()
    assert opened(Answer(200, {}, body, "POST x"), NOW) == [1]


@pytest.mark.parametrize(
    ("members", "watts"),
    [
        ({"pac": 74.0, "pacStr": "kW", "pacPec": "0.001"}, 74.0),  # the document's inverterDay: 245.3 V · 0.1 A · 3
        ({"pac": 5.025, "pacStr": "kW"}, 5025.0),
        ({"pac": "5.025", "pacStr": "kW", "pacPec": "1"}, 5025.0),
        ({"PAC": 1.2, "PACstr": "MW", "pacpec": 1}, 1_200_000.0),
        ({"pac": 1.0, "pacStr": "kVA"}, None),
        ({"pac": 1.0}, None),
        ({"pac": 1.0, "pacStr": "kW", "pacPec": "much"}, None),
        ({"pac": 1.0, "pacStr": "kW", "pacPec": 0}, None),
        ({"pac": "NaN", "pacStr": "kW"}, None),
        ({"pac": "Infinity", "pacStr": "kW"}, None),
        ({"pac": None, "pacStr": "kW"}, None),
        ({"pac": True, "pacStr": "kW"}, None),
        ({"pac": {"x": 1}, "pacStr": "kW"}, None),
        ({}, None),
    ],
)
def test_pec_is_a_multiplier_and_the_unit_counts(members: dict[str, object], watts: float | None) -> None:
    assert Record(members).watts("pac") == (None if watts is None else pytest.approx(watts))


def test_energy_units_switch_with_size() -> None:
    for value, unit, pec, wh in (
        (31.3, "kWh", "1", 31300),
        (5.603, "MWh", "1", 5_603_000),
        (755.0, "MWh", "0.001", 755e3),
    ):
        found = Record({"energy": value, "energyStr": unit, "energyPec": pec}).watt_hours("energy")
        assert found == pytest.approx(wh)
