"""Every byte that leaves for a vendor, a device or a webhook passes here; the only package that imports httpx.

What it adds to httpx: declared hosts only, addresses checked where the socket is opened (so DNS rebinding does not
help), no redirects, no proxies from the environment, no cookies between owners, a total deadline, a size cap,
answers decoded into types, failures turned into joinder.errors, and silence: httpx logs full URLs at INFO and puts
them into exception texts, and vendors take API keys in the query.
"""

from joinder.http.answers import MAX_RETRY_AFTER, Answer, raise_for_status
from joinder.http.client import MAX_ANSWER_BYTES, Http, Meter
from joinder.http.devices import DeviceHttp
from joinder.http.factory import HttpFactory
from joinder.http.transport import silence_client_loggers
from joinder.http.webhooks import LOOPBACK, WebhookHttp

__all__ = [
    "LOOPBACK",
    "MAX_ANSWER_BYTES",
    "MAX_RETRY_AFTER",
    "Answer",
    "DeviceHttp",
    "Http",
    "HttpFactory",
    "Meter",
    "WebhookHttp",
    "raise_for_status",
    "silence_client_loggers",
]
