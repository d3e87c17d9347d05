"""What is known to be wrong with a token before anything is sent."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from joinder.simulate.clock import SimulatedClock
from joinder_iq_gateway.simulator import SERIAL, SimulatedGateway
from joinder_iq_gateway.token import TokenRefused, check_token, tidy

BOX = SimulatedGateway(SimulatedClock())
NOW = datetime.now(UTC)


def unsigned(header: object, claims: object, signature: str = "c2ln") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    return ".".join([*parts, signature])


CLAIMS = {"aud": SERIAL, "iss": "Entrez", "enphaseUser": "owner", "exp": int(NOW.timestamp()) + 9999}


def test_owner_token_tells_serial_and_expiry() -> None:
    claims = check_token(BOX.mint(), NOW)
    assert claims.serial == SERIAL
    assert timedelta(days=364) < claims.expires_at - NOW < timedelta(days=366)


def test_audience_may_be_a_list_of_one() -> None:
    assert check_token(BOX.mint(aud=[SERIAL]), NOW).serial == SERIAL


def test_pasted_line_breaks_are_taken_out() -> None:
    token = BOX.mint()
    assert tidy(f"  {token[:60]}\r\n {token[60:]} \n") == token


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "not a token"),
        ("abc", "not a token"),
        ("a.b", "not a token"),
        ("a..c", "not a token"),
        ("é.b.c", "not an Enphase token"),
        ("<html>.<body>.x", "not an Enphase token"),
        (BOX.mint().rpartition(".")[0][:-30] + ".x", "not an Enphase token"),
        (unsigned({"alg": "none"}, CLAIMS), "not made by Enphase"),
        (unsigned({"alg": "HS256"}, CLAIMS), "not made by Enphase"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"iss": "Someone"}), "not made by Enphase"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"aud": "un-commissioned"}), "no single gateway"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"aud": ["1", "2"]}), "no single gateway"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"aud": []}), "no single gateway"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"enphaseUser": "installer"}), "12 hours"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"enphaseUser": "stranger"}), "role is not known"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"exp": int(NOW.timestamp()) + 299}), "expired"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"exp": 10**18}), "makes no sense"),
        (unsigned({"alg": "ES256"}, {"aud": SERIAL}), "not an Enphase token"),
        (unsigned({"alg": "ES256"}, CLAIMS | {"exp": "soon"}), "not an Enphase token"),
        (unsigned(["ES256"], CLAIMS), "not an Enphase token"),
    ],
)
def test_refused_with_a_sentence_that_quotes_nothing(token: str, sentence: str) -> None:
    with pytest.raises(TokenRefused, match=sentence) as refused:
        check_token(token, NOW)
    assert len(token) < 8 or token[:8] not in str(refused.value)
