"""Hosts with ports, bodies of every kind, endpoints of the operator's, and token calls in JSON."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from joinder import oauth
from joinder.errors import PluginBug
from joinder.grants import AppCredentials
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.vendor import (
    AppCredentialType,
    Capability,
    Field,
    Flow,
    Limits,
    OAuth2,
    Support,
    Vendor,
    endpoint_hosts,
    https_host,
)
from misbehaving import Serve, http_answer
from support import make_context

PORTED = "api.acme.example:13333"
TOKEN = json.dumps({"access_token": "the-token-of-the-app", "expires_in": 60}).encode()


async def test_a_host_with_a_port_is_declared_and_rerouted(serve: Serve) -> None:
    served = await serve(http_answer())
    factory = HttpFactory(reroute={PORTED: served.origin})
    http = factory.vendor((PORTED,))
    assert (await http.request("GET", f"https://{PORTED}/a")).ok
    assert b"host: api.acme.example:13333\r\n" in served.requests[0].lower()
    for url in ("https://api.acme.example/a", "https://api.acme.example:13334/a", "http://api.acme.example:13333/a"):
        with pytest.raises(PluginBug, match="refused"):
            await http.request("GET", url)
    assert len(served.requests) == 1
    await factory.close()


async def test_bytes_are_sent_as_they_are(serve: Serve) -> None:
    served = await serve(http_answer())
    factory = HttpFactory(reroute={"a.example": served.origin})
    body = b'{"a":  1 }'
    headers = {"content-type": "application/json"}
    await factory.vendor(("a.example",)).request("POST", "https://a.example/x", content=body, headers=headers)
    head, _, sent = served.requests[0].partition(b"\r\n\r\n")
    assert sent == body
    assert head.lower().count(b"content-type:") == 1
    await factory.close()


async def test_fields_are_sent_as_multipart(serve: Serve) -> None:
    served = await serve(http_answer())
    factory = HttpFactory(reroute={"a.example": served.origin})
    fields = {"application_form": '{"site_id": 7}', "kind": "enrollment"}
    await factory.vendor(("a.example",)).request("POST", "https://a.example/x", multipart=fields)
    head, _, sent = served.requests[0].partition(b"\r\n\r\n")
    assert b"content-type: multipart/form-data; boundary=" in head.lower()
    for name, value in fields.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent
    assert b"filename" not in sent
    await factory.close()


async def test_repeated_parameters_of_a_url_are_kept(serve: Serve) -> None:
    served = await serve(http_answer())
    factory = HttpFactory(reroute={"a.example": served.origin})
    await factory.vendor(("a.example",)).request("GET", "https://a.example/x?types=A&types=B", params={"page": 1})
    assert served.requests[0].startswith(b"GET /x?types=A&types=B&page=1 ")
    await factory.close()


def vendor(**oauth2: object) -> Vendor:
    given = {"authorize_url": "https://a.example/authorize", "token_url": "https://a.example/token", **oauth2}
    return Vendor(
        name="acme",
        label="Acme",
        docs_url="https://a.example",
        flow=Flow.REDIRECT,
        hosts=("a.example",),
        app_credentials=(
            AppCredentialType(
                type="app",
                label="App",
                fields=(
                    Field(name="clientID", label="id"),
                    Field(name="clientSecret", label="secret", secret=True),
                    Field(name="consentURL", label="page", required=False, endpoint=True),
                ),
            ),
        ),
        oauth2=OAuth2(**given),  # type: ignore[arg-type]
        limits=Limits(poll_every=timedelta(hours=1)),
        capabilities=dict.fromkeys(Capability, Support.YES),
    )


APP = {"vendor": "acme", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}


async def test_a_token_call_in_json(serve: Serve) -> None:
    served = await serve(http_answer(TOKEN))
    factory = HttpFactory(reroute={"a.example": served.origin})
    acme = vendor(parameters_in="json", token_endpoint_auth_method="client_secret_post")
    assert acme.oauth2 is not None
    ctx = make_context(acme, factory, app=APP)
    token = await oauth.client_token(ctx, acme.oauth2, audience="https://a.example")
    assert token.value == "the-token-of-the-app"
    head, _, sent = served.requests[0].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(sent) == {
        "grant_type": "client_credentials",
        "audience": "https://a.example",
        "client_id": "an-id",
        "client_secret": "a-secret",
    }
    await factory.close()


async def test_a_token_call_in_the_query_still_says_form(serve: Serve) -> None:
    served = await serve(http_answer(TOKEN))
    factory = HttpFactory(reroute={"a.example": served.origin})
    acme = vendor(parameters_in="query")
    assert acme.oauth2 is not None
    await oauth.client_token(make_context(acme, factory, app=APP), acme.oauth2)
    head = served.requests[0].lower()
    assert head.startswith(b"post /token?grant_type=client_credentials ")
    assert b"content-type: application/x-www-form-urlencoded" in head
    assert b"authorization: basic " in head
    await factory.close()


async def test_a_refresh_without_the_secret(serve: Serve) -> None:
    served = await serve(http_answer(TOKEN))
    factory = HttpFactory(reroute={"a.example": served.origin})
    acme = vendor()
    assert acme.oauth2 is not None
    ctx = make_context(acme, factory, app=APP)
    await oauth.refresh_token(ctx, acme.oauth2, Secrets({"refresh_token": "r-token"}), send_secret=False)
    sent = served.requests[0]
    assert b"client_id=an-id" in sent
    assert b"a-secret" not in sent
    assert b"authorization:" not in sent.lower()
    await factory.close()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://consent.example/a?b=c", "consent.example"),
        ("https://consent.example:443/", "consent.example"),
        ("https://consent.example:8443/", "consent.example:8443"),
    ],
)
def test_the_operators_endpoint_joins_the_hosts(url: str, host: str) -> None:
    app = AppCredentials(type="app", secrets=Secrets({"clientID": "x", "clientSecret": "y", "consentURL": url}))
    assert https_host(url) == host
    assert endpoint_hosts(vendor(), app) == (host,)
    assert endpoint_hosts(vendor(), None) == ()


@pytest.mark.parametrize(
    "url", ["http://a.example", "https://u@a.example/", "https://", "a.example", "https://[", "ftp://a"]
)
def test_an_endpoint_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|Invalid"):
        https_host(url)
