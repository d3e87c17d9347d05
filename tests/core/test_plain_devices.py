"""Devices by plain http: only in allowed networks, on declared ports, and never told a secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from joinder.errors import DeviceUnreachable, PluginBug
from joinder.grants import DeviceAccess
from joinder.http import HttpFactory
from joinder.vendor import Field, Flow, Limits, Vendor
from joinder.vendors.admission import Refused, check_devices
from misbehaving import http_answer

ADDRESS = "192.168.1.60"


def vendor(**facts: Any) -> Vendor:
    facts = {"device_access": "plain", "consent_fields": (Field(name="host", label="Address"),), **facts}
    limits = Limits(poll_every=timedelta(hours=1))
    return Vendor(
        name="box", label="Box", docs_url="https://box.example", flow=Flow.FORM, limits=limits, capabilities={}, **facts
    )


def access(served: Any = None, **facts: Any) -> DeviceAccess:
    reroute = {f"{ADDRESS}:8080": served.origin, f"{ADDRESS}:80": served.origin} if served else {}
    return HttpFactory(allowed_networks=("192.168.0.0/16",), reroute=reroute).device_access(vendor(**facts))


async def test_a_device_answers_by_plain_http_on_its_port(serve: Any) -> None:
    served = await serve(http_answer(b'{"a": 1}'), http_answer(b'{"a": 2}'))
    async with access(served)(ADDRESS) as box:
        assert box.origin == f"http://{ADDRESS}"
        assert (await box.request("GET", f"{box.origin}/info")).json(dict[str, int]) == {"a": 1}
    async with access(served, device_ports=(80, 8080))(ADDRESS, port=8080) as box:
        assert box.origin == f"http://{ADDRESS}:8080"
        assert (await box.request("GET", f"{box.origin}/info")).json(dict[str, int]) == {"a": 2}


@pytest.mark.parametrize(
    "secret",
    [
        {"headers": {"Authorization": "Bearer x"}},
        {"headers": {"cookie": "a=b"}},
        {"headers": {"X-API-Key": "x"}},
        {"basic": ("a", "b")},
    ],
)
async def test_credentials_never_go_over_plain_http(serve: Any, secret: dict[str, Any]) -> None:
    served = await serve(http_answer())
    async with access(served)(ADDRESS) as box:
        with pytest.raises(PluginBug, match="plain http"):
            await box.request("GET", f"{box.origin}/info", **secret)
    assert served.connections == 0


@pytest.mark.parametrize("url", ["https://192.168.1.60/", "http://192.168.1.60:81/", "http://192.168.1.61/"])
async def test_a_device_client_calls_its_device_alone(url: str) -> None:
    async with access()(ADDRESS) as box:
        with pytest.raises(PluginBug, match="alone"):
            await box.request("GET", url)


def test_only_declared_ports_are_opened() -> None:
    with pytest.raises(PluginBug, match="the vendor declares 80"):
        access()(ADDRESS, port=22)
    with pytest.raises(PluginBug, match="the vendor declares 443, 8443"):
        access(device_access="pinned", device_ports=(443, 8443))(ADDRESS, port=80)


async def test_plain_http_stays_in_the_operators_networks() -> None:
    with pytest.raises(DeviceUnreachable):
        async with access()("10.1.2.3") as box:
            await box.request("GET", f"{box.origin}/info")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"consent_fields": (Field(name="pin", label="PIN", secret=True),)}, "pin is secret"),
        ({"device_ports": (0,)}, "numbers of ports"),
        ({"device_ports": ("80",)}, "numbers of ports"),
        ({"device_access": True}, "must be pinned or plain"),
    ],
)
def test_a_description_that_would_leak_is_refused(facts: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        check_devices(vendor(**facts))
