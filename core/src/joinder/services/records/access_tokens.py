"""The access tokens of API clients: issued for id and secret, verified on every request."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from msgspec import Struct
from sqlmodel import col, select

from joinder.clock import now
from joinder.ids import is_id, new_id
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.records.accounts import Caller
from joinder.store.tables import Account, ApiClient, Enrollment, SigningKey
from joinder.store.vault import SYSTEM

TOKEN_LIFE_S = 3600
BROWSERS_SCOPE = "read:sites"
_RECHECK_S = 30  # a revoked client's token works at most this long in another process
_CACHE_SIZE = 10_000
_NO_SECRET = bytes(32)


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
        self._signing: ECKey | None = None
        self._public = KeySet([])
        self._loading = asyncio.Lock()
        self._seen: OrderedDict[str, tuple[Caller, float, float]] = OrderedDict()

    async def issue(self, client_id: str, client_secret: str, scope: str | None) -> AccessToken:
        """Issues an access token; `scope`: blank-separated, None for all the client has.

        Raises InvalidClient or InvalidScope.
        """
        client = await self._authenticated(client_id, client_secret)
        held = client.scopes.split()
        wanted = scope.split() if scope else held
        if not wanted or set(wanted) - set(held):
            raise InvalidScope
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
        key = await self._signing_key()
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

    async def verify(self, token: str) -> Caller:
        """Raises InvalidToken. A verified token is remembered until it expires, its client looked up every 30 s."""
        known = self._seen.get(token)
        moment = time.time()
        if known and moment < known[1] and moment < known[2]:
            return known[0]
        caller, expires = await self._verified(token)
        self._seen[token] = (caller, expires, moment + _RECHECK_S)
        self._seen.move_to_end(token)
        if len(self._seen) > _CACHE_SIZE:
            self._seen.popitem(last=False)
        return caller

    async def jwks(self) -> dict[str, list[dict[str, object]]]:
        await self._signing_key()
        return {"keys": [dict(key.as_dict(private=False)) for key in self._public.keys]}

    async def _authenticated(self, client_id: str, client_secret: str) -> ApiClient:
        presented = self._hub.vault.fingerprint(client_secret)
        async with self._hub.store.read() as session:
            client = await session.get(ApiClient, client_id) if is_id(client_id, "clnt") else None
        fits = [hmac.compare_digest(presented, stored) for stored in _secret_hashes(client)]
        if not any(fits) or client is None or client.revoked_at:
            raise InvalidClient
        return client

    async def _verified(self, token: str) -> tuple[Caller, float]:
        await self._signing_key()
        if len(token) > 4096 or token.count(".") != 2:
            raise InvalidToken
        try:
            decoded = jwt.decode(token, self._public, algorithms=["ES256"])
            claims = msgspec.convert(decoded.claims, _Claims)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError, KeyError):
            raise InvalidToken from None
        expected = claims.iss == claims.aud == self._issuer and decoded.header.get("typ") == "at+jwt"
        if not expected or set(decoded.header) != {"alg", "typ", "kid"} or not claims.iat <= time.time() + 60:
            raise InvalidToken
        if not 0 < claims.exp - claims.iat <= TOKEN_LIFE_S:
            raise InvalidToken
        if claims.exp <= time.time():
            raise InvalidToken
        return await self._caller(claims), float(claims.exp)

    async def _caller(self, claims: _Claims) -> Caller:
        """Raises InvalidToken where the client is no more."""
        async with self._hub.store.read() as session:
            client = await session.get(ApiClient, claims.client_id)
            account = await session.get(Account, client.account_id) if client is not None else None
        if client is None or account is None or client.revoked_at is not None:
            raise InvalidToken
        known = [vendor for vendor in self._hub.registry.vendors if client.compatible and vendor.compatible]
        types = frozenset((one.name, kind.type) for one in known for kind in one.app_credentials if kind.compatible)
        return Caller(
            account_id=claims.account,
            client_id=claims.client_id,
            scopes=frozenset(claims.scope.split()),
            mode=account.mode,
            vendors=frozenset(vendor.name for vendor in known) if client.compatible else None,
            types=types if client.compatible else None,
            enrollment_id=claims.enrollment,
        )

    async def _signing_key(self) -> ECKey:
        """Returns the newest stored key, made on first use."""
        if self._signing is None:
            async with self._loading:
                if self._signing is None:
                    await self._load_keys()
        if self._signing is None:
            raise LookupError("no signing key")
        return self._signing

    async def _load_keys(self) -> None:
        async with self._hub.store.write("signing_key") as session:
            rows = list((await session.execute(select(SigningKey).order_by(col(SigningKey.created_at)))).scalars())
            if not rows:
                rows = [self._new_signing_key()]
                session.add(rows[0])
        newest = rows[-1]
        place = {"table": "signing_key", "row": newest.id, "column": "private_sealed", "owner": SYSTEM}
        self._signing = ECKey.import_key(self._hub.vault.open(newest.private_sealed, **place))
        self._public = KeySet([ECKey.import_key(row.public_jwk) for row in rows])

    def _new_signing_key(self) -> SigningKey:
        key_id = new_id("jkey")
        key = ECKey.generate_key("P-256", parameters={"kid": key_id, "use": "sig", "alg": "ES256"})
        sealed = self._hub.vault.seal(
            key.as_dict(private=True), table="signing_key", row=key_id, column="private_sealed", owner=SYSTEM
        )
        return SigningKey(
            id=key_id, private_sealed=sealed, public_jwk=dict(key.as_dict(private=False)), created_at=now()
        )


def _secret_hashes(client: ApiClient | None) -> tuple[bytes, bytes]:
    """Returns two hashes, always.

    The time to compare tells neither whether there is a client nor that its secret was rotated.
    """
    if client is None:
        return _NO_SECRET, _NO_SECRET
    is_old_valid = client.old_secret_until is not None and now() < client.old_secret_until
    return client.secret_hash, (client.old_secret_hash if is_old_valid else None) or _NO_SECRET


class _Claims(Struct):
    iss: str
    aud: str
    client_id: str
    account: str
    scope: str
    iat: int
    exp: int
    enrollment: str | None = None
