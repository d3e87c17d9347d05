"""What a consent URL must be before an owner is sent to it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote_plus, urlsplit

from joinder.errors import PluginBug
from joinder.grants import AuthorizeRequest, Context
from joinder.vendor import Vendor, endpoint_hosts

_PLAIN = re.compile(r"[\x21-\x7e]+")


def check_authorize_url(vendor: Vendor, url: str, request: AuthorizeRequest, ctx: Context) -> None:
    outside = PluginBug(f"plugin {vendor.name} built an authorize URL outside its declared hosts")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise outside from None
    sent = parse_qs(parts.query)
    expected = {"state": request.state, "redirect_uri": request.redirect_uri}
    if request.code_challenge:
        expected |= {"code_challenge": request.code_challenge, "code_challenge_method": "S256"}
    changed = [name for name, value in expected.items() if sent.get(name) != [value]]
    if changed:
        raise PluginBug(f"plugin {vendor.name} changed {', '.join(changed)} in the authorize URL")
    plain = _PLAIN.fullmatch(url) and "@" not in parts.netloc and "#" not in url
    if (
        not plain or parts.scheme != "https" or parts.netloc not in vendor.hosts + endpoint_hosts(vendor, ctx.app)
    ):  # the netloc: no other port either
        raise outside
    decoded = unquote_plus(url)
    leaked = [name for name, value in _app_secrets(vendor, ctx) if value in url or value in decoded]
    if leaked:
        raise PluginBug(f"plugin {vendor.name} put {', '.join(leaked)} into the authorize URL")


def _app_secrets(vendor: Vendor, ctx: Context) -> list[tuple[str, str]]:
    """Returns the app's fields declared secret, as far as they are filled in."""
    kind = vendor.app_credential(ctx.app.type) if ctx.app else None
    if ctx.app is None or kind is None:
        return []
    return [
        (field.name, ctx.app[field.name]) for field in kind.fields if field.secret and ctx.app.secrets.get(field.name)
    ]
