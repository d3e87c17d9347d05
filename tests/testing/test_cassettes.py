"""Cassettes: scrubbed both ways, played with nothing listening, and never written under CI."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from joinder.http import HttpFactory
from joinder.testing.cassettes import Needs, needs, playing, provenance, recording
from joinder.testing.scrub import Scrubber, masked
from joinder.testing.subject import Failed
from misbehaving import Served, http_answer

HOST = "api.acme.example"
NEEDS = Needs(at=datetime(2026, 10, 28, 12, tzinfo=UTC), callback={"site_id": "7"})
SECRETS = ("secret-of-the-app", "the-access-token", "the-refresh-token", "owner@example.com", "the-session-cookie")
ANSWER = {
    "access_token": "the-access-token",
    "token_type": "Bearer",
    "nested": [{"deeper": {"refreshToken": "the-refresh-token", "code": "0"}}],
    "note": "sent to owner@example.com with the-access-token",
    "state": "enabled",
}


async def calls(http: HttpFactory) -> list[bytes]:
    """One call with secrets in query, form, JSON and headers each."""
    client = http.vendor((HOST,))
    headers = {"authorization": "Bearer the-access-token", "cookie": "session=the-session-cookie"}
    answers = [
        await client.request("GET", f"https://{HOST}/a", params={"api_key": "secret-of-the-app"}, headers=headers),
        await client.request("POST", f"https://{HOST}/b", form={"client_secret": "secret-of-the-app"}),
        await client.request("POST", f"https://{HOST}/c", json={"x": [{"password": "secret-of-the-app"}]}),
    ]
    return [answer.content for answer in answers]


async def recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    served = Served([http_answer(json.dumps(ANSWER).encode(), set_cookie="session=the-session-cookie")])
    server = await asyncio.start_server(served.handle, "127.0.0.1", 0)
    factory = HttpFactory(reroute={HOST: f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    with recording(path, source="a test", needs=NEEDS, scrubber=Scrubber()):
        await calls(factory)
    await factory.close()
    server.close()
    await asyncio.sleep(0.01)  # lets the handler close its end


async def test_no_secret_is_written_in_either_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flow.yaml"
    await recorded(path, monkeypatch)
    text = path.read_text()
    assert [secret for secret in SECRETS if secret in text] == []
    assert f"https://{HOST}/a" in text
    assert "127.0.0.1" not in text
    assert "set-cookie" not in text
    assert '"code": "0"' in text  # too short for a secret
    assert '"state": "enabled"' in text
    assert provenance(path) == "a test"
    assert needs(path) == NEEDS


async def test_it_plays_with_nothing_listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flow.yaml"
    await recorded(path, monkeypatch)
    factory = HttpFactory()
    with playing(path) as cassette:
        contents = await calls(factory)
        assert cassette.all_played
    assert json.loads(contents[0])["token_type"] == "Bearer"
    assert masked(contents[0].decode()) == masked(contents[2].decode())
    await factory.close()


async def test_a_call_that_is_not_on_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flow.yaml"
    await recorded(path, monkeypatch)
    before = path.read_bytes()
    factory = HttpFactory()
    with playing(path), pytest.raises(Exception, match=r"overwrite|cassette"):
        await factory.vendor((HOST,)).request("GET", f"https://{HOST}/elsewhere")
    await factory.close()
    assert path.read_bytes() == before


def test_nothing_is_recorded_under_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with (
        pytest.raises(Failed, match="CI"),
        recording(tmp_path / "x.yaml", source="a test", needs=NEEDS, scrubber=Scrubber()),
    ):
        raise AssertionError("the block must not run")
    assert not (tmp_path / "x.yaml").exists()


def test_an_empty_recording_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with (
        pytest.raises(Failed, match="no call"),
        recording(tmp_path / "x.yaml", source="a test", needs=NEEDS, scrubber=Scrubber()),
    ):
        pass


def test_the_same_secret_gets_the_same_placeholder() -> None:
    scrubber = Scrubber()
    first = scrubber.uri("https://a.example/x?api_key=abcdefgh&code=ijklmnop&state=qrstuvwx")
    assert first == "https://a.example/x?api_key=SCRUBBED-1&code=SCRUBBED-2&state=SCRUBBED-3"
    assert scrubber.body(b'{"apiKey": "abcdefgh"}', "application/json") == b'{"apiKey": "SCRUBBED-1"}'
    assert scrubber.body(b"plain abcdefgh", "text/plain") == b"plain SCRUBBED-1"


def test_a_state_inside_a_redirect_uri_and_a_token_in_an_answers_header_are_secrets() -> None:
    scrubber = Scrubber()
    body = b'{"redirect_uri": "https://hub.example/join?state=abcdefgh", "appkey": "ijklmnop"}'
    assert scrubber.body(body, "application/json") == (
        b'{"redirect_uri": "https://hub.example/join?state=SCRUBBED-1", "appkey": "SCRUBBED-2"}'
    )
    kept = scrubber.headers({"XSRF-TOKEN": ["qrstuvwx"], "Set-Cookie": ["a=b"]})
    assert kept == {"xsrf-token": ["SCRUBBED-3"]}
    assert scrubber.headers({"xsrf-token": "qrstuvwx"}) == {}  # of a request: it is never compared


def test_a_cassette_that_does_not_say_its_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text("interactions: []\n")
    with pytest.raises(Failed, match="recorded from"):
        provenance(path)
    with pytest.raises(Failed, match="needs"):
        needs(path)
