"""OAuth 2.0 for plugins: the grants vendors use, over ctx.http, on Authlib's transport-free functions.

An error answer is classed by its `error` code alone (RFC 6749 §5.2), never by its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from msgspec import Struct

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Context, Kept, MachineToken
from joinder.http import Answer, raise_for_status
from joinder.redact import Secrets
from joinder.vendor import OAuth2

EXCHANGE_DEADLINE = 30.0  # generous: a timeout here can lose a single-use token
_APP_REJECTED = ("invalid_client", "unauthorized_client", "unauthorized")  # the last is Spring's word for the first
_GRANT_DEAD = ("invalid_grant", "invalid_token")  # likewise
_TRANSIENT = ("server_error", "temporarily_unavailable")
# Of the authorization endpoint: the owner said no or did not finish (OpenID Connect Core §3.1.2.6 for the last three),
# or the app asked wrongly (RFC 6749 §4.1.2.1). Any other word proves neither.
_NOT_GIVEN = ("access_denied", "user_cancelled", "consent_required", "login_required", "interaction_required")
_APP_AT_FAULT = (
    *("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope"),
    *("invalid_client", "invalid_redirect_uri", "redirect_uri_mismatch"),
)


class Token(Struct, frozen=True):
    """A token answer (RFC 6749 §5.1). `extra` holds the vendor's other members that are strings or numbers."""

    access_token: str
    expires_at: datetime | None
    refresh_token: str | None
    extra: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"

    def secrets(self, previous: Mapping[str, str] | None = None) -> Secrets:
        """As grant secrets; a refresh answer without a refresh token keeps the previous one (RFC 6749 §6)."""
        refresh_token = self.refresh_token or (previous or {}).get("refresh_token")
        return Secrets(
            {"access_token": self.access_token, **({"refresh_token": refresh_token} if refresh_token else {})}
        )


def authorize_url(oauth2: OAuth2, app: AppCredentials, request: AuthorizeRequest) -> str:
    """The consent URL of an authorization code grant; `app` holds clientID."""
    challenge = {"code_challenge": request.code_challenge, "code_challenge_method": "S256"}
    return str(
        prepare_grant_uri(
            oauth2.authorize_url,
            client_id=app["clientID"],
            response_type="code",
            redirect_uri=request.redirect_uri,
            scope=" ".join(oauth2.scopes) or None,
            state=request.state,
            **(challenge if request.code_challenge else {}),
            **oauth2.extra_authorize_params,
        )
    )


def code_from(callback: Callback) -> str:
    """The authorization code. Raises ConsentDenied when the owner refused or did not finish (RFC 6749 §4.1.2.1)."""
    error = callback.values.get("error")
    if error:
        raise _authorization_error(error)
    code = callback.values.get("code")
    if not code:
        raise ConsentInvalid("The vendor sent the owner back without an authorization code")
    return code


def _authorization_error(code: str) -> VendorError:
    """The class of an `error` on the way back, which anybody may have written into the owner's browser."""
    refusal: VendorError
    if code in _NOT_GIVEN:
        refusal = ConsentDenied("The owner did not give consent")
    elif code in _TRANSIENT:
        refusal = TransientError("The vendor could not complete the consent")
    elif code in _APP_AT_FAULT:
        refusal = AppCredentialsRejected("The vendor refused the authorization request")
    else:
        return UnexpectedPayload("The vendor ended the consent for a reason of its own", detail=f"error={code}")
    refusal.code = code
    return refusal


async def exchange_code(ctx: Context, oauth2: OAuth2, callback: Callback, **extra: str) -> Token:
    """Authorization code → token, which core keeps before it is answered; later, the token that was kept."""
    if callback.kept is not None:
        return _of_kept(callback.kept)
    parameters = {"grant_type": "authorization_code", "code": code_from(callback), **extra}
    if callback.redirect_uri:
        parameters["redirect_uri"] = callback.redirect_uri
    if callback.code_verifier:
        parameters["code_verifier"] = callback.code_verifier
    try:
        token = await token_call(ctx, oauth2, parameters)
    except AuthorizationLost as error:
        raise ConsentInvalid("The vendor refused the authorization code", detail=error.detail) from None
    except OutcomeUnknown:
        raise TransientError("The connection to the vendor was cut off; nothing was saved, start again") from None
    except _NoAccessToken:
        raise ConsentIncomplete(
            "The vendor gave no access_token for the consent; look at the app's scopes and registration at the vendor"
        ) from None
    await callback.keep(Kept(secrets=token.secrets(), said=token.extra, expires_at=token.expires_at))
    return token


def _of_kept(kept: Kept) -> Token:
    return Token(kept.secrets["access_token"], kept.expires_at, kept.secrets.get("refresh_token"), kept.said)


async def refresh_token(
    ctx: Context, oauth2: OAuth2, secrets: Secrets, *, send_secret: bool = True, **extra: str
) -> Token:
    """Refresh token → token, one exchange. `send_secret` False: the vendor wants the client id alone."""
    parameters = {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"], **extra}
    return await token_call(ctx, oauth2, parameters, send_secret=send_secret)


async def client_token(ctx: Context, oauth2: OAuth2, **extra: str) -> MachineToken:
    """The app's own token (client credentials). Call it through ctx.app_token, which keeps and shares it."""
    try:
        token = await token_call(ctx, oauth2, {"grant_type": "client_credentials", **extra})
    except OutcomeUnknown:
        raise TransientError("The connection to the vendor's token service was cut off") from None
    except AuthorizationLost as error:
        raise AppCredentialsRejected("The vendor refuses this app's client credentials", detail=error.detail) from None
    return MachineToken(value=token.access_token, expires_at=token.expires_at)


async def token_call(ctx: Context, oauth2: OAuth2, parameters: Mapping[str, str], *, send_secret: bool = True) -> Token:
    """One POST to the token endpoint with the app's client credentials. Raises as `token_error` says."""
    app = ctx.require_app()
    client = (app["clientID"], app["clientSecret"]) if send_secret else None
    body = dict(parameters)
    if client is None:
        body |= {"client_id": app["clientID"]}
    elif oauth2.client_auth == "post":
        body |= {"client_id": client[0], "client_secret": client[1]}
    sent_as = oauth2.parameters_in
    answer = await ctx.http.request(
        "POST",
        oauth2.token_url,
        params=body if sent_as == "query" else None,
        form={"form": body, "query": {}, "json": None}[sent_as],
        json=body if sent_as == "json" else None,
        headers={"content-type": "application/x-www-form-urlencoded"} if sent_as == "query" else None,  # of no body
        basic=client if oauth2.client_auth == "basic" else None,
        deadline=EXCHANGE_DEADLINE,
        exchange=True,
    )
    if not answer.ok:
        raise token_error(answer, lost_codes=oauth2.lost_codes)
    return _token(answer, ctx.now())


class _NoAccessToken(UnexpectedPayload):
    """A 2xx answer of the token endpoint without the one thing it is for."""


class _ErrorBody(Struct):
    error: str | None = None


def token_error(answer: Answer, *, lost_codes: tuple[str, ...] = ()) -> VendorError:
    """The class of a non-2xx token answer; `lost_codes` are the vendor's own words for invalid_grant."""
    try:
        code = msgspec.json.decode(answer.content, type=_ErrorBody).error or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        code = ""
    detail = f"{answer.status} error={code}" if code else str(answer.status)
    if answer.status == 429:
        return RateLimited("The vendor allows no more token calls for now", retry_after=answer.retry_after())
    if answer.status >= 500 or code in _TRANSIENT:
        return TransientError("The vendor's token service failed", retry_after=answer.retry_after(), detail=detail)
    if code in _APP_REJECTED:
        return AppCredentialsRejected("The vendor refuses this app's client credentials", detail=detail)
    if code in (*_GRANT_DEAD, *lost_codes):
        return AuthorizationLost("The vendor no longer accepts this consent", detail=detail)
    if answer.status == 401 and not code:
        return AppCredentialsRejected("The vendor refuses this app's client credentials", detail=detail)
    try:
        raise_for_status(answer)
    except TransientError as error:
        return error
    except UnexpectedPayload:
        pass  # said below, with the error code a plugin may know
    return UnexpectedPayload("The vendor's token service gave an unknown answer", detail=detail)


def _token(answer: Answer, now: datetime) -> Token:
    body = answer.json(dict[str, object])
    access_token = body.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        raise _NoAccessToken(f"{answer.place} answered without an access token")
    refresh = body.get("refresh_token")
    known = ("access_token", "refresh_token", "expires_in")
    extra = {name: str(value) for name, value in body.items() if name not in known and isinstance(value, str | int)}
    return Token(
        access_token,
        _expiry(body.get("expires_in"), now),
        refresh if isinstance(refresh, str) else None,
        extra,
    )


def _expiry(expires_in: object, now: datetime) -> datetime | None:
    """`expires_in` in seconds, also as a string; zero, negative, absurd or missing means unknown."""
    if isinstance(expires_in, bool):
        return None
    try:
        seconds = int(float(expires_in))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= 10 * 366 * 86400 else None
