"""iSolarCloud's token calls: OAuth in all but their form, which wants the app's own key and secret beside the code."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from joinder import Callback, Context, Grant, Kept, OAuth2, Secrets, oauth
from joinder.errors import AuthorizationLost, ConsentInvalid, OutcomeUnknown, TransientError, UnexpectedPayload
from joinder_sungrow.api import region_of


class TokenAnswer(Struct):
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: int | None = None  # seconds


async def consented(ctx: Context, oauth2: OAuth2, callback: Callback) -> Grant:
    """Exchanges the code, which works once, and keeps what came for it. Raises ConsentInvalid for a refused one."""
    token = _of_kept(callback.kept) if callback.kept is not None else await _by_code(ctx, callback)
    return oauth.granted(oauth2, token, ctx.now(), Grant(secrets=Secrets({})))


async def renewed(ctx: Context, oauth2: OAuth2, grant: Grant) -> Grant:
    """Exchanges the refresh token, which works once. Raises AuthorizationLost where it no longer does."""
    token = await _exchange(ctx, "refreshToken", refresh_token=grant.secrets["refresh_token"])
    return oauth.granted(oauth2, token, ctx.now(), grant)


async def _by_code(ctx: Context, callback: Callback) -> oauth.Token:
    asked = {"grant_type": "authorization_code", "code": oauth.code_from(callback)}
    try:
        token = await _exchange(ctx, "token", **asked, redirect_uri=callback.redirect_uri or "")
    except AuthorizationLost as error:
        raise ConsentInvalid("iSolarCloud refused the authorization code", detail=error.detail) from None
    except OutcomeUnknown:
        raise TransientError("The connection to iSolarCloud was cut off; start again") from None
    await callback.keep(Kept(secrets=token.secrets(), said=token.extra, expires_at=token.expires_at))
    return token


async def _exchange(ctx: Context, page: str, **asked: str) -> oauth.Token:
    """Sends one token call. Raises as oauth.token_error says, whatever the status."""
    app = ctx.require_app()
    answer = await ctx.http.request(
        "POST",
        f"https://{region_of(ctx).gateway}/openapi/apiManage/{page}",
        json={"appkey": app["appKey"], **asked},
        headers={"x-access-key": app["clientSecret"]},
        exchange=True,
    )
    if not answer.ok or oauth.error_code(answer.content):
        raise oauth.token_error(answer)
    told = answer.json(TokenAnswer)
    if not told.access_token:
        raise UnexpectedPayload("iSolarCloud answered without an access token")
    ends_at = ctx.now() + timedelta(seconds=told.expires_in) if told.expires_in and told.expires_in > 0 else None
    return oauth.Token(told.access_token, ends_at, told.refresh_token, {})


def _of_kept(kept: Kept) -> oauth.Token:
    return oauth.Token(kept.secrets["access_token"], kept.expires_at, kept.secrets.get("refresh_token"), kept.said)
