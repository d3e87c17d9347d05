"""Every byte that leaves for a vendor, a device or a webhook passes here; the only package that imports httpx.

What it adds to httpx: declared hosts only, addresses checked where the socket is opened (so DNS rebinding does not
help), no redirects, no proxies from the environment, no cookies between owners, a total deadline, a size cap,
answers decoded into types, failures turned into joinder.errors, and silence: httpx logs full URLs at INFO and puts
them into exception texts, and vendors take API keys in the query.

Each name is loaded when it is first used: a command's help, and a plugin's description, need no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joinder.http.answers import MAX_RETRY_AFTER, Answer, raise_for_status
    from joinder.http.api import Api, bearer, path
    from joinder.http.client import MAX_ANSWER_BYTES, METER, Http, Meter
    from joinder.http.devices import DeviceHttp
    from joinder.http.factory import HttpFactory
    from joinder.http.transport import silence_client_loggers
    from joinder.http.webhooks import LOOPBACK, WebhookHttp

__all__ = [
    "LOOPBACK",
    "MAX_ANSWER_BYTES",
    "MAX_RETRY_AFTER",
    "METER",
    "Answer",
    "Api",
    "DeviceHttp",
    "Http",
    "HttpFactory",
    "Meter",
    "WebhookHttp",
    "bearer",
    "path",
    "raise_for_status",
    "silence_client_loggers",
]

_HOMES = {
    "LOOPBACK": "webhooks",
    "MAX_ANSWER_BYTES": "client",
    "METER": "client",
    "MAX_RETRY_AFTER": "answers",
    "Answer": "answers",
    "Api": "api",
    "DeviceHttp": "devices",
    "Http": "client",
    "HttpFactory": "factory",
    "Meter": "client",
    "WebhookHttp": "webhooks",
    "bearer": "api",
    "path": "api",
    "raise_for_status": "answers",
    "silence_client_loggers": "transport",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module joinder.http has no attribute {name}")
    return getattr(import_module(f"joinder.http.{_HOMES[name]}"), name)
