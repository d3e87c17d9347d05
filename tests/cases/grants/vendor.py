"""A vendor on loopback whose answers a test writes: a token endpoint and a data API, spoken to over HTTP.

Refresh tokens are single-use unless `kind` says otherwise; using one again revokes its owner's grant, which every test
of these ends by looking at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import parse_qs

import msgspec

from joinder import (
    AppCredentialType,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    History,
    Limits,
    OAuth2,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Vendor,
    clock,
    hookimpl,
    oauth,
)
from joinder.errors import AuthorizationLost, OperatorActionNeeded
from joinder.http import raise_for_status
from misbehaving import http_answer

HOST = "told.example"
OAUTH = OAuth2(
    authorize_url=f"https://{HOST}/a",
    token_url=f"https://{HOST}/t",
    token_endpoint_auth_method="client_secret_basic",
    pkce=False,
)
QUARTER_HOURS = History(resolution="15mins", window=timedelta(days=7))
Said = bytes | Callable[[], bytes] | None  # None: as a well vendor


def refusal(code: str, status: str = "400 Bad Request", **headers: str) -> bytes:
    return http_answer(msgspec.json.encode({"error": code}), status, **headers)


@dataclass(eq=False)
class Told:
    """The vendor and its plugin. `tokens` and `data` answer in its place: by owner, by site, or for all ("*")."""

    kind: Refresh = Refresh.ROTATING
    grace: timedelta | None = None
    life_s: int = 3600
    sites: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by owner, where it is not one
    tokens: dict[str, Said] = field(default_factory=dict)
    data: dict[str, Said] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    consented: dict[str, int] = field(default_factory=dict)  # the first token of the owner's last consent
    lose_answers: set[str] = field(default_factory=set)  # owners whose renewal happens and is cut off
    revoked: set[str] = field(default_factory=set)
    reused: list[str] = field(default_factory=list)
    token_calls: list[str] = field(default_factory=list)
    secrets_seen: list[str] = field(default_factory=list)
    data_calls: list[str] = field(default_factory=list)
    before_token: Callable[[str], object] | None = None  # awaited while a renewal is in flight
    port: int = 0

    @hookimpl
    def describe_vendor(self) -> Vendor:
        client_id = Field(name="clientID", label="Client ID")
        secret = Field(name="clientSecret", label="Client secret", secret=True)
        return Vendor(
            name="told",
            label="Told",
            docs_url=f"https://{HOST}",
            flow=Flow.REDIRECT,
            hosts=(HOST,),
            app_credentials=tuple(
                AppCredentialType(type=name, label=name, fields=(client_id, secret), flow=flow)
                for name, flow in (("app", Flow.REDIRECT), ("fleet", Flow.OPERATOR))
            ),
            oauth2=OAUTH,
            refresh=self.kind,
            refresh_grace=self.grace,
            limits=Limits(
                poll_every=timedelta(hours=1), history=(History(resolution="15mins", window=timedelta(days=7)),)
            ),
            capabilities={},
        )

    @hookimpl
    async def build_authorize_url(self) -> str:
        raise AssertionError

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        if ctx.require_app().type == "fleet":  # nobody's consent
            return self.consent("fleet")
        token = await oauth.exchange_code(ctx, OAUTH, callback)
        owner = token.access_token.split("~")[1]
        return self.consent(owner)

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        token = await oauth.refresh_token(ctx, OAUTH, grant.secrets)
        return replace(grant, secrets=token.secrets(grant.secrets), expires_at=token.expires_at)

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        await self._ask(ctx, grant, site_id)
        return Site(vendor_id=site_id, name=f"Home {site_id}", timezone="Europe/Berlin")

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        await self._ask(ctx, grant, query.site.vendor_id)
        return Readings()

    async def _ask(self, ctx: Context, grant: Grant, site_id: str) -> None:
        token = grant.secrets["access_token"]
        answer = await ctx.http.request("GET", f"https://{HOST}/sites/{site_id}", headers={"authorization": token})
        if answer.status == 402:
            raise OperatorActionNeeded("The plan with the vendor is over; renew it")
        if answer.status in (401, 403, 404):
            raise AuthorizationLost("The vendor refuses this owner's data")
        raise_for_status(answer)

    def consent(self, owner: str, *, refresh_token: bool = True) -> Consent:
        """As after a code was exchanged."""
        self.current[owner] = self.current.get(owner, 0) + 1
        self.revoked.discard(owner)
        self.consented[owner] = self.current[owner]
        secrets = {"access_token": f"access~{owner}~{self.current[owner]}"}
        if refresh_token:
            secrets["refresh_token"] = f"{owner}~{self.current[owner]}"
        sites = self.sites.get(owner, (f"site-of-{owner}",))
        expires_at = clock.utc_now() + timedelta(seconds=self.life_s)
        return Consent(grant=Grant(secrets=Secrets(secrets), expires_at=expires_at, site_ids=sites), account_id=owner)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                answer = await self._answer(head, body.decode())
                if not answer:
                    writer.transport.abort()
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, body: str) -> bytes:
        if head.startswith("GET"):
            site_id = head.split()[1].rpartition("/")[2]
            self.data_calls.append(site_id)
            return _said(self.data, site_id) or http_answer()
        values = parse_qs(body)
        self.secrets_seen.append(re.findall(r"(?i)authorization: (.*)", head)[0].strip())
        if "code" in values:
            return self._token(values["code"][0])
        owner, _, number = values["refresh_token"][0].partition("~")
        self.token_calls.append(owner)
        if self.before_token is not None:
            await self.before_token(owner)  # type: ignore[misc]
        told = _said(self.tokens, owner)
        return told if told is not None else self._rotated(owner, int(number))

    def _rotated(self, owner: str, number: int) -> bytes:
        if number < self.consented.get(owner, 0):  # a newer consent has ended that grant
            return refusal("invalid_grant")
        is_current = number == self.current.get(owner)
        if self.kind is Refresh.ROTATING and not is_current and self.grace is None:
            self.reused.append(owner)
            self.revoked.add(owner)
        if owner in self.revoked:
            return refusal("invalid_grant")
        if is_current and self.kind is Refresh.ROTATING:
            self.current[owner] += 1
        if owner in self.lose_answers:
            return b""
        return self._token(owner)

    def _token(self, owner: str) -> bytes:
        number = self.current.setdefault(owner, 1)
        token = {"access_token": f"access~{owner}~{number}", "refresh_token": f"{owner}~{number}"}
        return http_answer(msgspec.json.encode({**token, "expires_in": self.life_s}))


def _said(answers: dict[str, Said], name: str) -> bytes | None:
    told = answers.get(name, answers.get("*"))
    return told() if callable(told) else told


@asynccontextmanager
async def listening(vendor: Told) -> AsyncIterator[None]:
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        await asyncio.sleep(0.01)
