"""The access tokens of API clients: issued for id and secret, verified on every request."""

from __future__ import annotations

import base64
import hmac
import time
from collections import OrderedDict

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from msgspec import Struct

from joinder.clock import now
from joinder.ids import is_id, new_id
from joinder.runtime.hub import Hub
from joinder.services.records.accounts import Caller
from joinder.services.records.login_audit import LoginAudit
from joinder.services.records.signing_keys import TOKEN_LIFE_S, SigningKeys
from joinder.store.tables import Account, ApiClient

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
        self.keys = SigningKeys(hub)
        self.audit = LoginAudit(hub)
        self._seen: OrderedDict[str, tuple[Caller, float, float]] = OrderedDict()

    async def issue(self, client_id: str, client_secret: str, scope: str | None) -> AccessToken:
        """Issues an access token; `scope`: blank-separated, None for all the client has.

        Raises InvalidClient or InvalidScope.
        """
        client = await self._authenticated(client_id, client_secret)
        held = client.scopes.split()
        wanted = scope.split() if scope else held
        if not wanted or set(wanted) - set(held):
            self.audit.login(client, "refused", "it asked for scopes it does not have")
            raise InvalidScope
        self.audit.login(client, "ok")
        key, issued = await self.keys.signing(), int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": client.id,
            "client_id": client.id,
            "account": client.account_id,
            "scope": " ".join(wanted),
            "iat": issued,
            "exp": issued + TOKEN_LIFE_S,
            "jti": new_id("evnt"),
        }
        token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=["ES256"])
        return AccessToken(token, TOKEN_LIFE_S, "Bearer", float(issued + TOKEN_LIFE_S), " ".join(wanted))

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
        public = await self.keys.public()
        return {"keys": [dict(key.as_dict(private=False)) for key in public.keys]}

    async def _authenticated(self, client_id: str, client_secret: str) -> ApiClient:
        presented = self._hub.vault.fingerprint(client_secret)
        async with self._hub.store.read() as session:
            client = await session.get(ApiClient, client_id) if is_id(client_id, "clnt") else None
        fits = [hmac.compare_digest(presented, stored) for stored in _secret_hashes(client)]
        if not any(fits) or client is None or client.revoked_at:
            self.audit.login(client, "refused", "it is revoked" if client and client.revoked_at else "wrong secret")
            raise InvalidClient
        return client

    async def _verified(self, token: str) -> tuple[Caller, float]:
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
