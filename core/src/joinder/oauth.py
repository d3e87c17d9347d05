"""OAuth 2.0 for plugins: the grants vendors use, over ctx.http.

What an answer means is in token_answers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    NotSupported,
    OutcomeUnknown,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Context, Grant, Kept, MachineToken
from joinder.http import Answer
from joinder.redact import Secrets
from joinder.token_answers import TRANSIENT, NoAccessToken, Token, error_code, token_error, token_of
from joinder.vendor import OAuth2

__all__ = [
    "Token",
    "authorize_url",
    "client_token",
    "code_from",
    "consented",
    "error_code",
    "exchange_code",
    "granted",
    "refresh_token",
    "renewed",
    "revoke",
    "token_call",
    "token_error",
]
EXCHANGE_DEADLINE = 30.0  # generous: a timeout here can lose a single-use token
# Of the authorization endpoint: the owner said no or did not finish (OpenID Connect Core §3.1.2.6 for the last three),
# or the app asked wrongly (RFC 6749 §4.1.2.1). Any other word proves neither.
_NOT_GIVEN = ("access_denied", "user_cancelled", "consent_required", "login_required", "interaction_required")
_APP_AT_FAULT = (
    *("invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope"),
    *("invalid_client", "invalid_redirect_uri", "redirect_uri_mismatch"),
)


def authorize_url(oauth2: OAuth2, app: AppCredentials, request: AuthorizeRequest, **extra: str) -> str:
    """Returns the consent URL of an authorization code grant; `app` holds clientID. `extra`: more parameters."""
    parameters: dict[str, str | None] = {
        "response_type": "code",
        oauth2.client_id_parameter: app["clientID"],
        oauth2.redirect_parameter: request.redirect_uri,
        "scope": " ".join(oauth2.scopes) or None,
        "state": request.state if oauth2.state_in == "parameter" else None,
        "code_challenge": request.code_challenge,
        "code_challenge_method": "S256" if request.code_challenge else None,
        **oauth2.extra_authorize_params,
        **extra,
    }
    sent = urlencode({name: value for name, value in parameters.items() if value is not None})
    place, mark, inside = oauth2.authorize_url.partition("#")
    holder = inside if oauth2.fragment else place
    joined = f"{holder}{'&' if '?' in holder else '?'}{sent}"
    return f"{place}{mark}{joined}" if oauth2.fragment else joined


def code_from(callback: Callback) -> str:
    """Returns the authorization code.

    Raises ConsentDenied when the owner refused or did not finish (RFC 6749 §4.1.2.1), another VendorError for any other
    `error`, or ConsentInvalid when there is no code.
    """
    error = callback.values.get("error")
    if error:
        raise _authorization_error(error)
    code = callback.values.get("code")
    if not code:
        raise ConsentInvalid("The vendor sent the owner back without an authorization code")
    return code


def _authorization_error(code: str) -> VendorError:
    """Returns what an `error` on the way back means, which anybody may have written into the owner's browser."""
    refusal: VendorError
    if code in _NOT_GIVEN:
        refusal = ConsentDenied("The owner did not give consent")
    elif code in TRANSIENT:
        refusal = TransientError("The vendor could not complete the consent")
    elif code in _APP_AT_FAULT:
        refusal = AppCredentialsRejected("The vendor refused the authorization request")
    else:
        return UnexpectedPayload("The vendor ended the consent for a reason of its own", detail=f"error={code}")
    refusal.code = code
    return refusal


async def exchange_code(ctx: Context, oauth2: OAuth2, callback: Callback, **extra: str) -> Token:
    """Exchanges an authorization code for a token, which core keeps before it is answered; later, answers the kept one.

    Raises ConsentInvalid for a refused code, or another VendorError.
    """
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
    except NoAccessToken:
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
    """Exchanges a refresh token for a token, in one call. `send_secret` False: the vendor wants the client id alone.

    Raises AuthorizationLost where there is no refresh token, else as `token_error` says.
    """
    if not secrets.get("refresh_token"):
        raise AuthorizationLost("The vendor gave no refresh token with this consent, so it ends with its access token")
    parameters = {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"], **extra}
    return await token_call(ctx, oauth2, parameters, send_secret=send_secret)


def granted(oauth2: OAuth2, token: Token, now: datetime, before: Grant | None = None) -> Grant:
    """Returns `before` with the token of an answer, or the first grant of a consent.

    The refresh token's clock starts again only when a new one came: it ends as the answer says (`refresh_expires_in`),
    else after OAuth2.refresh_token_life.
    """
    known = before or Grant(secrets=Secrets({}))
    ends_at = known.refresh_expires_at
    if (life := token.refresh_life or (oauth2.refresh_token_life if token.refresh_token else None)) is not None:
        ends_at = now + life
    elif token.refresh_token:
        ends_at = None
    return replace(known, secrets=token.secrets(known.secrets), expires_at=token.expires_at, refresh_expires_at=ends_at)


async def consented(
    ctx: Context, oauth2: OAuth2, callback: Callback, *, facts: Mapping[str, str] | None = None, **extra: str
) -> Grant:
    """Exchanges a code for the grant of a consent, its sites still to be listed. Raises as `exchange_code`."""
    token = await exchange_code(ctx, oauth2, callback, **extra)
    return granted(oauth2, token, ctx.now(), Grant(secrets=Secrets({}), facts=facts or {}))


async def renewed(ctx: Context, oauth2: OAuth2, grant: Grant, *, send_secret: bool = True) -> Grant:
    """Exchanges a grant's refresh token for the grant that follows it. Raises as `refresh_token`."""
    token = await refresh_token(ctx, oauth2, grant.secrets, send_secret=send_secret)
    return granted(oauth2, token, ctx.now(), grant)


async def client_token(ctx: Context, oauth2: OAuth2, **extra: str) -> MachineToken:
    """Fetches the app's own token (client credentials). Call it through ctx.app_token, which keeps and shares it.

    Raises AppCredentialsRejected when the vendor refuses the app, or another VendorError.
    """
    try:
        token = await token_call(ctx, oauth2, {"grant_type": "client_credentials", **extra})
    except OutcomeUnknown:
        raise TransientError("The connection to the vendor's token service was cut off") from None
    except (AuthorizationLost, Unexplained) as error:  # nobody but the app is asked about here
        if isinstance(error, Unexplained) and not (error.code or "").startswith("401"):
            raise
        raise AppCredentialsRejected("The vendor refuses this app's client credentials", detail=error.detail) from None
    return MachineToken(value=token.access_token, expires_at=token.expires_at)


async def revoke(ctx: Context, oauth2: OAuth2, secrets: Mapping[str, str]) -> None:
    """Ends a grant at the vendor (RFC 7009) by its refresh token, or where that is not taken back by its access token.

    A token that works no more counts as revoked. Raises NotSupported when the vendor takes neither, or as `token_error`
    says.
    """
    kinds = ("refresh_token",) if oauth2.revocation_parameter == "refresh_token" else ("refresh_token", "access_token")
    for kind in kinds:
        if secrets.get(kind) and await _taken_back(ctx, oauth2, kind, secrets[kind]):
            return
    raise NotSupported("The vendor takes back no token of this grant")


async def _taken_back(ctx: Context, oauth2: OAuth2, kind: str, token: str) -> bool:
    """Revokes one token; False when the vendor revokes no token of this kind."""
    if oauth2.revocation_url is None:
        return False
    hint = {"token_type_hint": kind} if oauth2.revocation_parameter == "token" else {}
    answer = await _client_call(ctx, oauth2, oauth2.revocation_url, {oauth2.revocation_parameter: token, **hint})
    if answer.ok:
        return True
    if error_code(answer.content) == "unsupported_token_type":
        return False
    error = token_error(answer, invalid_grant_codes=oauth2.invalid_grant_codes)
    if isinstance(error, AuthorizationLost):
        return True
    raise error


async def token_call(ctx: Context, oauth2: OAuth2, parameters: Mapping[str, str], *, send_secret: bool = True) -> Token:
    """Sends one POST to the token endpoint with the app's client credentials. Raises as `token_error` says."""
    answer = await _client_call(ctx, oauth2, oauth2.token_url, parameters, send_secret=send_secret)
    if not answer.ok:
        raise token_error(answer, invalid_grant_codes=oauth2.invalid_grant_codes)
    return token_of(answer, ctx.now(), invalid_grant_codes=oauth2.invalid_grant_codes)


async def _client_call(
    ctx: Context, oauth2: OAuth2, url: str, parameters: Mapping[str, str], *, send_secret: bool = True
) -> Answer:
    app = ctx.require_app()
    client = (app["clientID"], app["clientSecret"]) if send_secret else None
    body = dict(parameters)
    if client is None:
        body |= {"client_id": app["clientID"]}
    elif oauth2.token_endpoint_auth_method == "client_secret_post":  # noqa: S105 - a method's name
        body |= {"client_id": client[0], "client_secret": client[1]}
    sent_as = oauth2.parameters_in
    return await ctx.http.request(
        "POST",
        url,
        params=body if sent_as == "query" else None,
        form={"form": body, "query": {}, "json": None}[sent_as],
        json=body if sent_as == "json" else None,
        headers={"content-type": "application/x-www-form-urlencoded"} if sent_as == "query" else None,  # of no body
        basic=client if oauth2.token_endpoint_auth_method == "client_secret_basic" else None,  # noqa: S105 - as above
        deadline=EXCHANGE_DEADLINE,
        exchange=True,
    )
