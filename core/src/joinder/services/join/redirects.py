"""Redirect URIs of join flows: checked when stored, used exactly as stored (RFC 9700 §2.1)."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit

from joinder.setting_values import LOOPBACK_HOSTS

MAX_LENGTH = 2000
_PLAIN = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
NOT_HTTPS = "must be https (http only for 127.0.0.1, localhost or [::1])"


def problem_with(uri: str) -> str | None:
    """Says why `uri` cannot be a redirect URI, in words for its owner; None when it can."""
    if len(uri) > MAX_LENGTH:
        return f"must be at most {MAX_LENGTH} characters long"
    if not _PLAIN.fullmatch(uri) or set(uri) & set('\\"<>^`{|}*'):
        return "must be a plain URI: no spaces, control or non-ASCII characters, backslashes or wildcards"
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URI"
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        return "must not carry user information before the host"
    if "#" in uri:
        return "must not have a fragment"
    bracketed = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(bracketed) or parts.netloc.lower() != bracketed + ("" if port is None else f":{port}"):
        return "must be an absolute URI with a host"
    if parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK_HOSTS):
        return None
    return NOT_HTTPS


def with_result(uri: str, **result: str | None) -> str:
    """Appends result parameters to the stored URI; what it had stays untouched."""
    query = urlencode({name: value for name, value in result.items() if value is not None})
    joint = "" if not query else "&" if "?" in uri else "?"
    return f"{uri}{joint}{query}"


def callback_at(public_url: str, vendor: str) -> str:
    """Returns the URL the operator of this server registers at the vendor."""
    return f"{public_url}/join/{vendor}/auth-granted"
