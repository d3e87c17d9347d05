"""The access tokens of API clients: issued for id and secret, verified on every request."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from msgspec import Struct
from sqlalchemy import delete
from sqlmodel import col

from joinder.clock import now
from joinder.ids import is_id, new_id
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.records.accounts import Caller
from joinder.services.records.login_audit import LoginAudit
from joinder.services.records.signing_keys import TOKEN_LIFE_S, SigningKeys
from joinder.services.records.told import EVERYTHING, Told
from joinder.store.tables import Account, ApiClient, Enrollment, RevokedToken
from joinder.store.types import Stamp
from joinder.trouble import StoreTrouble

BROWSERS_SCOPE = "read:sites"
_RECHECK_S = 30  # how long a process may go on with an earlier look at the client and its account
_CACHE_SIZE = 10_000
_COUNTS = (
    "SELECT 1 FROM api_client WHERE id = :client AND revoked_at IS NULL "
    "AND NOT EXISTS (SELECT 1 FROM revoked_token WHERE jti = :jti)"
)
_NO_SECRET = bytes(32)
_KEPT_ANEW = "UPDATE api_client SET secret_hash = :fresh WHERE id = :id AND secret_hash = :known"


class InvalidClient(Exception):
    """Unknown client, wrong secret, revoked client: indistinguishable."""


class InvalidScope(Exception):
    """A scope the client does not have."""


class InvalidToken(Exception):
    """Not one of our access tokens, expired, or its client is revoked."""


class AccessToken(Struct, frozen=True):
    access_token: str
    expires_in: int
    token_type: str
    expires_at: float
    scope: str


class Tokens:
    """Issues and verifies access tokens: RFC 9068 JWTs, ES256, one hour."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._issuer = hub.settings.public_url
        self.keys = SigningKeys(hub)
        self.audit = LoginAudit(hub)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    async def issue(self, client_id: str, client_secret: str, scope: str | None) -> AccessToken:
        """Issues an access token to whose secret this is. Raises InvalidClient or InvalidScope."""
        return await self.issue_to(await self.authenticated(client_id, client_secret), scope)

    async def issue_to(self, client: ApiClient, scope: str | None) -> AccessToken:
        """Issues an access token; `scope`: blank-separated, None for all the client has. Raises InvalidScope."""
        held = client.scopes.split()
        wanted = scope.split() if scope else held
        if not wanted or set(wanted) - set(held):
            self.audit.login(client, "refused", "it asked for scopes it does not have")
            raise InvalidScope
        self.audit.login(client, "ok")
        return await self._signed(self._claims(client.id, client.account_id, " ".join(wanted), TOKEN_LIFE_S))

    def _claims(self, client_id: str, account_id: str, scope: str, life_s: int) -> dict[str, Any]:
        issued = int(time.time())
        return {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": client_id,
            "client_id": client_id,
            "account": account_id,
            "scope": scope,
            "iat": issued,
            "exp": issued + life_s,
            "jti": new_id("evnt"),
        }

    async def _signed(self, claims: dict[str, Any]) -> AccessToken:
        key = await self.keys.signing()
        token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=["ES256"])
        return AccessToken(token, claims["exp"] - claims["iat"], "Bearer", float(claims["exp"]), claims["scope"])

    async def for_browser(self, caller: Caller, enrollment_id: str, life_s: int) -> AccessToken:
        """Issues a key that reads the sites of one enrollment, and nothing else, in the caller's name.

        Raises NotFound.
        """
        async with self._hub.store.write(caller.account_id) as session:
            await owned(session, Enrollment, enrollment_id, caller.account_id)
            audit(session, caller.account_id, caller.client_id, "enrollment.browser_key", enrollment_id)
        claims = self._claims(caller.client_id, caller.account_id, BROWSERS_SCOPE, life_s)
        return await self._signed({**claims, "enrollment": enrollment_id})

    async def verify(self, token: str) -> tuple[Caller, Stamp | None]:
        """Returns whose it is, and the stamp of the moment when it was known to count. Raises InvalidToken.

        What a token says is remembered; whether it still counts is asked every time.
        """
        known = self._seen.get(token)
        moment = time.time()
        if known and moment < known.claims.exp and moment < known.again_at:
            known.stamp = await self._refuse_ended(known.claims, known.stamp)
            return known.caller, known.stamp
        claims = await self._verified(token)
        stamp = await self._refuse_ended(claims)
        caller = await self._caller(claims)
        self._seen[token] = _Seen(caller, claims, moment + _RECHECK_S, stamp)
        self._seen.move_to_end(token)
        if len(self._seen) > _CACHE_SIZE:
            self._seen.popitem(last=False)
        return caller, stamp

    async def revoke(self, client: ApiClient, token: str) -> None:
        """Ends one of the client's own access tokens (RFC 7009), everywhere at once; what is no token has ended.

        Raises InvalidClient for another client's.
        """
        try:
            claims = await self._verified(token)
        except InvalidToken:
            return
        if claims.client_id != client.id:
            raise InvalidClient
        async with self._hub.store.write(claims.jti) as session:
            await session.execute(delete(RevokedToken).where(col(RevokedToken.expires_at) < now()))
            if await session.get(RevokedToken, claims.jti) is None:
                session.add(RevokedToken(jti=claims.jti, expires_at=claims.exp))
                audit(session, client.account_id, client.id, "token.revoke", client.id)

    async def introspect(self, client: ApiClient, token: str) -> dict[str, object]:
        """Says what a token of the client's account is worth (RFC 7662); of any other only that it is not active."""
        try:
            claims = await self._verified(token)
            await self._refuse_ended(claims)
        except InvalidToken:
            return {"active": False}
        if claims.account != client.account_id:
            return {"active": False}
        told = {
            name: getattr(claims, name) for name in ("iss", "aud", "sub", "client_id", "scope", "iat", "exp", "jti")
        }
        return {"active": True, "token_type": "Bearer", **told}

    async def _refuse_ended(self, claims: _Claims, since: Stamp | None = None) -> Stamp | None:
        """Returns the stamp of now; `since`: of when it counted.

        Raises InvalidToken where the client or this token was revoked, in whichever process.
        """
        counts, stamp = await self._hub.store.finds(_COUNTS, {"client": claims.client_id, "jti": claims.jti}, since)
        if not counts:
            raise InvalidToken
        return stamp

    async def jwks(self) -> dict[str, list[dict[str, object]]]:
        public = await self.keys.public()
        return {"keys": [dict(key.as_dict(private=False)) for key in public.keys]}

    async def authenticated(self, client_id: str, client_secret: str) -> ApiClient:
        """Returns the client whose secret this is. Raises InvalidClient."""
        async with self._hub.store.read() as session:
            client = await session.get(ApiClient, client_id) if is_id(client_id, "clnt") else None
            await self._hub.vault.know_peppers(session)
        fits = [self._hub.vault.fits(client_secret, stored) for stored in _secret_hashes(client)]
        if not any(fits) or client is None or client.revoked_at:
            self.audit.login(client, "refused", "it is revoked" if client and client.revoked_at else "wrong secret")
            raise InvalidClient
        if fits[0] and self._hub.vault.is_outdated(client.secret_hash):
            await self._kept_by_the_newest_pepper(client, client_secret)
        return client

    async def _kept_by_the_newest_pepper(self, client: ApiClient, client_secret: str) -> None:
        """Keeps another fingerprint of the secret, so that the pepper before may end; a log-in does not need it."""
        fresh = {"id": client.id, "known": client.secret_hash, "fresh": self._hub.vault.fingerprint(client_secret)}
        with suppress(StoreTrouble):
            await self._hub.store.apply((_KEPT_ANEW, fresh))

    async def _verified(self, token: str) -> _Claims:
        if len(token) > 4096 or token.count(".") != 2:
            raise InvalidToken
        try:
            public = await self.keys.public(_kid(token))
            decoded = jwt.decode(token, public, algorithms=["ES256"])
            claims = msgspec.convert(decoded.claims, _Claims)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError, KeyError):
            raise InvalidToken from None
        expected = claims.iss == claims.aud == self._issuer and decoded.header.get("typ") == "at+jwt"
        if not expected or set(decoded.header) != {"alg", "typ", "kid"} or not claims.iat <= time.time() + 60:
            raise InvalidToken
        if not 0 < claims.exp - claims.iat <= TOKEN_LIFE_S:
            raise InvalidToken
        if claims.exp <= time.time() or claims.nbf > time.time() + 60 or claims.sub != claims.client_id:
            raise InvalidToken
        return claims

    async def _caller(self, claims: _Claims) -> Caller:
        """Raises InvalidToken where the client is no more."""
        async with self._hub.store.read() as session:
            client = await session.get(ApiClient, claims.client_id)
            account = await session.get(Account, client.account_id) if client is not None else None
        if client is None or account is None or client.revoked_at is not None or claims.account != account.id:
            raise InvalidToken
        known = [vendor for vendor in self._hub.registry.vendors if client.compatible and vendor.compatible]
        types = frozenset((one.name, kind.type) for one in known for kind in one.app_credentials if kind.compatible)
        return Caller(
            account_id=claims.account,
            client_id=claims.client_id,
            scopes=frozenset(claims.scope.split()),
            mode=account.mode,
            told=Told(frozenset(vendor.name for vendor in known), types) if client.compatible else EVERYTHING,
            enrollment_id=claims.enrollment,
        )


def _secret_hashes(client: ApiClient | None) -> tuple[bytes, bytes]:
    """Returns two hashes, always.

    The time to compare tells neither whether there is a client nor that its secret was rotated.
    """
    if client is None:
        return _NO_SECRET, _NO_SECRET
    is_old_valid = client.old_secret_until is not None and now() < client.old_secret_until
    return client.secret_hash, (client.old_secret_hash if is_old_valid else None) or _NO_SECRET


def _kid(token: str) -> str | None:
    """Returns the key a token names, before anything of it is believed."""
    try:
        header = msgspec.json.decode(base64.urlsafe_b64decode(token.partition(".")[0] + "=="), type=dict[str, object])
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    return str(header.get("kid"))


class _Claims(Struct):
    iss: str
    aud: str
    client_id: str
    account: str
    scope: str
    iat: int
    exp: int
    sub: str
    jti: str
    nbf: int = 0
    enrollment: str | None = None


class _Seen(Struct):
    """A token that was verified, and when its client is looked up again."""

    caller: Caller
    claims: _Claims
    again_at: float
    stamp: Stamp | None
