"""What simulated token endpoints do with codes and refresh tokens, so that tests of refresh mean something."""

from __future__ import annotations

import base64

import pytest

from joinder.simulate.clock import SimulatedClock
from joinder.simulate.oauth import Rotation, TokenRefused, TokenService, basic

REDIRECT = "http://127.0.0.1/back"
START = 1_800_000_000.0


def service(rotation: Rotation | None = None) -> TokenService:
    clock = SimulatedClock()
    clock.freeze(START)
    return TokenService(
        clock, {"app": "s3cret", "other": "x"}, access_life_s=300, refresh_life_s=86_400, rotation=rotation
    )


def joined(tokens: TokenService, owner: str = "happy") -> str:
    return tokens.by_code("app", tokens.new_code("app", owner, REDIRECT), REDIRECT).refresh_token


@pytest.mark.parametrize(
    ("client", "redirect_uri", "wait_s"),
    [("other", REDIRECT, 0), ("app", "http://127.0.0.1/x", 0), ("app", REDIRECT, 301)],
)
def test_a_code_is_bound_and_short_lived(client: str, redirect_uri: str, wait_s: float) -> None:
    tokens = service()
    code = tokens.new_code("app", "happy", REDIRECT)
    tokens.clock.freeze(START + wait_s)
    with pytest.raises(TokenRefused, match="invalid_grant"):
        tokens.by_code(client, code, redirect_uri)
    with pytest.raises(TokenRefused):  # used up by the attempt
        tokens.by_code("app", code, REDIRECT)


@pytest.mark.parametrize(
    ("rotation", "wait_s", "works"),
    [
        (Rotation(), 0, False),
        (Rotation(mode="keep"), 3600, True),
        (Rotation(mode="grace", grace_seconds=60), 59, True),
        (Rotation(mode="grace", grace_seconds=60), 61, False),
    ],
)
def test_a_second_use_of_a_refresh_token(rotation: Rotation, wait_s: float, works: bool) -> None:
    tokens = service(rotation)
    first = joined(tokens)
    newest = tokens.by_refresh("app", first).refresh_token
    tokens.clock.freeze(START + wait_s)
    if works:
        assert tokens.by_refresh("app", first).refresh_token not in (first, newest)
    else:
        with pytest.raises(TokenRefused, match="invalid_grant"):
            tokens.by_refresh("app", first)
        with pytest.raises(TokenRefused):  # the whole family is gone
            tokens.by_refresh("app", newest)
    assert (tokens.counts()["reuse_seen"], tokens.counts()["families_revoked"]) == (1, 0 if works else 1)


def test_tokens_expire_and_owners_revoke() -> None:
    tokens = service()
    issued = tokens.by_code("app", tokens.new_code("app", "happy", REDIRECT), REDIRECT)
    assert tokens.holder(issued.access_token) is issued.family
    tokens.clock.freeze(START + 301)
    assert tokens.holder(issued.access_token) is None
    renewed = tokens.by_refresh("app", issued.refresh_token)
    tokens.revoke("happy")
    assert tokens.holder(renewed.access_token) is None
    with pytest.raises(TokenRefused):
        tokens.by_refresh("app", renewed.refresh_token)
    with pytest.raises(TokenRefused):
        tokens.by_refresh("app", joined(tokens, "revokes-later"))


def _header(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def test_clients_are_told_apart() -> None:
    tokens = service()
    tokens.check_client(*basic(_header("app:s3cret")))
    for header in (_header("app:s"), "Basic !", "Bearer x", ""):
        with pytest.raises(TokenRefused, match="invalid_client"):
            tokens.check_client(*basic(header))
    with pytest.raises(TokenRefused):
        tokens.by_refresh("other", joined(tokens))


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_a_token_that_is_taken_back_ends_its_whole_grant_once_and_only_for_its_own_client(which: str) -> None:
    tokens = service()
    issued = tokens.by_code("app", tokens.new_code("app", "happy", REDIRECT), REDIRECT)
    other = joined(tokens)
    assert not tokens.take_back("other", getattr(issued, which))
    assert tokens.holder(issued.access_token) is not None
    assert tokens.take_back("app", getattr(issued, which))
    assert not tokens.take_back("app", getattr(issued, which))
    assert not tokens.take_back("app", "made-up")
    assert tokens.holder(issued.access_token) is None
    with pytest.raises(TokenRefused):
        tokens.by_refresh("app", issued.refresh_token)
    assert tokens.by_refresh("app", other).family.alive
    assert tokens.counts()["taken_back"] == 1
