"""Ports of this machine that know no login: answered to its own tools, to no web page that a browser here shows.

Any page may send requests to loopback, and a name that anybody owns may lead there. So `Host` must be a name of
loopback, and nothing may say that a page of another origin asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_OWN = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.ASCII)
_OWN_ORIGIN = re.compile(rf"http://{_OWN.pattern}")


def refuses(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tells whether a request with these headers, names in lower case, comes from elsewhere, or may."""
    given = [(name, value.decode("latin-1")) for name, value in headers]
    hosts = [value for name, value in given if name == b"host"]
    origins = [value for name, value in given if name == b"origin"]
    sites = [value for name, value in given if name == b"sec-fetch-site"]
    return not (
        len(hosts) == 1
        and _OWN.fullmatch(hosts[0])
        and all(_OWN_ORIGIN.fullmatch(origin) for origin in origins)
        and all(site in ("none", "same-origin") for site in sites)
    )
