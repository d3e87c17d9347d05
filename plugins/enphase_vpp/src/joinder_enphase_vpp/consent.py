"""The home owner's consent: an authorization code grant whose addresses and client the operator configures.

The vendor says that a token "generated through oAuth for program enrollment" goes with an application, bound to one
programme and one site, and publishes neither where it is issued nor how. Everything here beyond that is inference.
"""

from __future__ import annotations

from dataclasses import replace

from joinder import oauth
from joinder.errors import ConsentInvalid, OperatorActionNeeded
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Context
from joinder.redact import Secrets
from joinder.vendor import OAuth2

_NEEDED = ("consentAuthorizeURL", "consentTokenURL", "consentClientID", "consentClientSecret")
_SITE_NAMES = ("site_id", "system_id")  # the vendor's two words for one number


def authorize_url(ctx: Context, request: AuthorizeRequest) -> str:
    oauth2, client = _client(ctx)
    return oauth.authorize_url(oauth2, client, request)


async def exchange(ctx: Context, callback: Callback) -> tuple[str, str]:
    """Exchanges the callback for the owner's access token and the id of the site it is for.

    The site is as the token answer names it, else the callback. A callback parameter passes through the owner's
    browser; the vendor itself refuses an application whose token does not match the site. Raises ConsentInvalid when
    neither names a site.
    """
    oauth2, client = _client(ctx)
    token = await oauth.exchange_code(replace(ctx, app=client), oauth2, callback)
    named = [source.get(name, "").strip() for source in (token.extra, callback.values) for name in _SITE_NAMES]
    site_id = next((value for value in named if value), "")
    if not (site_id.isascii() and site_id.isdigit()) or len(site_id) > 18:
        raise ConsentInvalid("Enphase sent the owner back without naming the system to enrol")
    return token.access_token, str(int(site_id))


def _client(ctx: Context) -> tuple[OAuth2, AppCredentials]:
    app = ctx.require_app()
    given = {name: app.secrets.get(name, "") for name in (*_NEEDED, "consentScope", "consentAudience")}
    missing = [name for name in _NEEDED if not given[name]]
    if missing:
        raise OperatorActionNeeded(f"The app credential lacks {', '.join(missing)}; Enphase names them for a programme")
    oauth2 = OAuth2(
        authorize_url=given["consentAuthorizeURL"],
        token_url=given["consentTokenURL"],
        scopes=tuple(given["consentScope"].split()),
        extra_authorize_params={"audience": given["consentAudience"]} if given["consentAudience"] else {},
    )
    client = {"clientID": given["consentClientID"], "clientSecret": given["consentClientSecret"]}
    return oauth2, AppCredentials(type=app.type, secrets=Secrets(client))
