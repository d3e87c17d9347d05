"""What a consent URL must be before an owner is sent to it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote_plus, urlsplit

from joinder.errors import PluginBug
from joinder.grants import AuthorizeRequest, Context
from joinder.vendor import OAuth2, Vendor, endpoint_hosts

_PLAIN = re.compile(r"[\x21-\x7e]+")


def check_authorize_url(vendor: Vendor, url: str, request: AuthorizeRequest, ctx: Context) -> None:
    outside = PluginBug(f"plugin {vendor.name} built an authorize URL outside its declared hosts")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise outside from None
    sent, expected = sent_parameters(vendor, url), expected_parameters(vendor, request)
    changed = [name for name, value in expected.items() if sent.get(name) != [value]]
    if changed:
        raise PluginBug(f"plugin {vendor.name} changed {', '.join(changed)} in the authorize URL")
    plain = _PLAIN.fullmatch(url) and "@" not in parts.netloc and _fits_fragment(vendor.oauth2, url)
    if (
        not plain or parts.scheme != "https" or parts.netloc not in vendor.hosts + endpoint_hosts(vendor, ctx.app)
    ):  # the netloc: no other port either
        raise outside
    decoded = unquote_plus(url)
    leaked = [name for name, value in _app_secrets(vendor, ctx) if value in url or value in decoded]
    if leaked:
        raise PluginBug(f"plugin {vendor.name} put {', '.join(leaked)} into the authorize URL")


def sent_parameters(vendor: Vendor, url: str) -> dict[str, list[str]]:
    """Returns what the vendor's consent page is told. Raises ValueError for what is no URL."""
    parts = urlsplit(url)
    is_behind_hash = vendor.oauth2 is not None and vendor.oauth2.fragment
    return parse_qs(parts.fragment.partition("?")[2] if is_behind_hash else parts.query)


def expected_parameters(vendor: Vendor, request: AuthorizeRequest) -> dict[str, str]:
    """Returns what core made and must stand in the URL unchanged, by the names the vendor gives it."""
    oauth2 = vendor.oauth2
    expected = {oauth2.redirect_parameter if oauth2 else "redirect_uri": request.redirect_uri}
    if oauth2 is None or oauth2.state_in == "parameter":
        expected["state"] = request.state
    if request.code_challenge:
        expected |= {"code_challenge": request.code_challenge, "code_challenge_method": "S256"}
    return expected


def _fits_fragment(oauth2: OAuth2 | None, url: str) -> bool:
    """Tells whether there is no fragment, or the very one that the vendor declares to read its parameters in.

    Another of its hosts may have the same page, as a cloud of each region has; which hosts, is looked at beside this.
    """
    if oauth2 is None or not oauth2.fragment:
        return "#" not in url
    declared, found = urlsplit(oauth2.authorize_url), urlsplit(url)
    is_same_page = (declared.path, declared.query) == (found.path, found.query)
    return is_same_page and declared.fragment.partition("?")[0] == found.fragment.partition("?")[0]


def _app_secrets(vendor: Vendor, ctx: Context) -> list[tuple[str, str]]:
    """Returns the app's fields declared secret, as far as they are filled in."""
    kind = vendor.app_credential(ctx.app.type) if ctx.app else None
    if ctx.app is None or kind is None:
        return []
    return [
        (field.name, ctx.app[field.name]) for field in kind.fields if field.secret and ctx.app.secrets.get(field.name)
    ]
