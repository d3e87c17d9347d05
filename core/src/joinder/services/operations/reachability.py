"""Whether owners come back: a browser that a vendor redirects to the public URL must reach this installation."""

from __future__ import annotations

from msgspec import Struct

from joinder.errors import TransientError, VendorError
from joinder.runtime.hub import Hub

METADATA = "/.well-known/oauth-authorization-server"
DEADLINE_S = 5.0


class _Metadata(Struct):
    issuer: str


async def public_address(hub: Hub) -> tuple[str, str | None]:
    """Says what was found, and the next step, None where it is well. Calls the public URL alone."""
    url = hub.settings.public_url
    http = hub.http.own(url)
    try:
        answer = await http.request("GET", url + METADATA, deadline=DEADLINE_S)
        issuer = answer.json(_Metadata).issuer if answer.status == 200 else None
    except TransientError:
        return _silent(hub)
    except VendorError:
        issuer = None
    finally:
        await http.close()
    if issuer == url:
        return f"{url} answers", None
    step = "let the proxy pass it to joinder serve, started with the same JOINDER_PUBLIC_URL as here"
    return f"what answers at {url} is not a server with this public URL", step


def _silent(hub: Hub) -> tuple[str, str | None]:
    """Says what silence means: on loopback the server itself need not run; elsewhere owners cannot come back."""
    url = hub.settings.public_url
    if hub.settings.is_loopback:
        return f"nothing answers at {url}: joinder serve does not run", None
    step = "start joinder serve, and let the proxy pass this address to it, with a certificate that browsers accept"
    return f"{url} cannot be reached from here, so owners cannot come back from vendors", step
