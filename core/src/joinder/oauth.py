"""OAuth 2.0 for plugins: the grants vendors use, over ctx.http, on Authlib's transport-free functions.

An error answer is classed by its `error` code alone (RFC 6749 §5.2), never by its text, and whatever the form it is in:
JSON with or without a byte order mark, an object around the code, a form, capitals, under any status, 200 included.
A refusal without a code proves nothing: it may be a gateway's in front of the vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from msgspec import Struct

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    NotSupported,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Context, Kept, MachineToken
from joinder.http import Answer
from joinder.redact import Secrets
from joinder.vendor import OAuth2

EXCHANGE_DEADLINE = 30.0  # generous: a timeout here can lose a single-use token
_APP_REJECTED = ("invalid_client", "unauthorized_client", "unauthorized")  # the last is Spring's word for the first
_GRANT_DEAD = ("invalid_grant", "invalid_token")  # likewise
_TRANSIENT = ("server_error", "temporarily_unavailable")
_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")
_FORM = re.compile(r"[\w.%+-]+=[^<>{}\r\n]*\Z")  # a whole body of one line, as in application/x-www-form-urlencoded
_ERROR_BYTES = 65536
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
        """Returns the grant's secrets.

        A refresh answer without a refresh token keeps the `previous` one (RFC 6749 §6).
        """
        refresh_token = self.refresh_token or (previous or {}).get("refresh_token")
        return Secrets(
            {"access_token": self.access_token, **({"refresh_token": refresh_token} if refresh_token else {})}
        )


def authorize_url(oauth2: OAuth2, app: AppCredentials, request: AuthorizeRequest) -> str:
    """Returns the consent URL of an authorization code grant; `app` holds clientID."""
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
    elif code in _TRANSIENT:
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
    """Exchanges a refresh token for a token, in one call. `send_secret` False: the vendor wants the client id alone.

    Raises AuthorizationLost where there is no refresh token, else as `token_error` says.
    """
    if not secrets.get("refresh_token"):
        raise AuthorizationLost("The vendor gave no refresh token with this consent, so it ends with its access token")
    parameters = {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"], **extra}
    return await token_call(ctx, oauth2, parameters, send_secret=send_secret)


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
    return _token(answer, ctx.now(), invalid_grant_codes=oauth2.invalid_grant_codes)


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


class _NoAccessToken(UnexpectedPayload):
    """A 2xx answer of the token endpoint without the one thing it is for."""


def token_error(answer: Answer, *, invalid_grant_codes: tuple[str, ...] = ()) -> VendorError:
    """Returns what a token answer without a token means; `invalid_grant_codes`: the vendor's own for invalid_grant."""
    code = error_code(answer.content)
    detail = f"{answer.status} error={code}" if code else str(answer.status)
    if answer.status == 429:
        return RateLimited("The vendor allows no more token calls for now", retry_after=answer.retry_after())
    if answer.status >= 500 or answer.status in (408, 425) or code in _TRANSIENT:
        return TransientError("The vendor's token service failed", retry_after=answer.retry_after(), detail=detail)
    if code in _APP_REJECTED:
        return AppCredentialsRejected("The vendor refuses this app's client credentials", detail=detail)
    if code in (*_GRANT_DEAD, *invalid_grant_codes):
        return AuthorizationLost("The vendor no longer accepts this consent", detail=detail)
    if code or 400 <= answer.status < 500:
        said = f"{answer.status} {code}".strip()
        text = f"The vendor's token service refuses without a known reason ({said})"
        return Unexplained(text, code=said, detail=detail)
    return UnexpectedPayload("The vendor's token service gave an unknown answer", detail=detail)


def error_code(content: bytes) -> str:
    """Returns the OAuth error code of a body, in small letters; empty where nothing in it could be one (HTML, text)."""
    text = content[:_ERROR_BYTES].decode("utf-8-sig", "replace").strip()
    try:
        code = _code_in(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        code = parse_qs(text, max_num_fields=50).get("error", [""])[0] if _FORM.match(text) else ""
    code = code.strip().lower()
    return code if _CODE.fullmatch(code) else ""


def _code_in(body: object) -> str:
    """Returns `error` as a text, or the code inside an object of that name."""
    if not isinstance(body, dict):
        return ""
    error = next((value for name, value in body.items() if name.lower() == "error"), None)
    if isinstance(error, dict):
        error = next(
            (error[name] for name in ("code", "type", "error", "status") if isinstance(error.get(name), str)), None
        )
    return error if isinstance(error, str) else ""


def _token(answer: Answer, now: datetime, *, invalid_grant_codes: tuple[str, ...] = ()) -> Token:
    body = _members(answer)
    access_token = body.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        if error_code(answer.content):  # a refusal that calls itself a success
            raise token_error(answer, invalid_grant_codes=invalid_grant_codes)
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


def _members(answer: Answer) -> Mapping[str, object]:
    """Returns the members of a token answer; those of a form are texts, as some vendors sent them before the RFC."""
    text = answer.content[:_ERROR_BYTES].decode("ascii", "replace").strip()
    if _FORM.match(text):
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=50).items()}
    return answer.json(dict[str, object])


def _expiry(expires_in: object, now: datetime) -> datetime | None:
    """Returns when `expires_in` (seconds, also as a string) is over.

    None, unknown, where it is zero, negative, absurd or missing.
    """
    if isinstance(expires_in, bool):
        return None
    try:
        seconds = int(float(expires_in))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= 10 * 366 * 86400 else None
