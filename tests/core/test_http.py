"""What leaves for vendors and devices, where to, and what may come back."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import logging
import socket
import ssl
import subprocess
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore
import msgspec
import pytest

from joinder.egress import GuardedBackend, is_lan, is_public
from joinder.errors import (
    DeviceIdentityChanged,
    DeviceUnreachable,
    OutcomeUnknown,
    PluginBug,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.http import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER,
    Answer,
    Http,
    HttpFactory,
    raise_for_status,
)
from joinder.http.client import CLIENT
from joinder.simulate.tls import self_signed
from misbehaving import CUT, HANG, RESET, TRICKLE, Served, http_answer

HOST = "api.vendor.example"
QUERY_SECRET = "query-secret-7f3a91"

# Addresses -----------------------------------------------------------------------------------------------------------

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "11.0.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255",
    "192.169.0.1", "100.63.255.255", "100.128.0.1", "169.253.255.255", "169.255.0.1", "126.255.255.255",
    "128.0.0.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "168.63.129.15", "9.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1", "2400:cb00::1",
]  # fmt: skip
LAN = [
    "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254", "192.168.1.50",
    "fd12:3456:789a::1", "fc00::1", "fdff:ffff::1",
]  # fmt: skip
NEVER = [
    # this machine, unspecified, broadcast
    "127.0.0.1", "127.0.0.53", "127.1.2.3", "127.255.255.255", "::1", "0.0.0.0", "0.0.0.1", "0.255.255.255", "::",  # noqa: S104
    "255.255.255.255",
    # link-local and clouds' metadata
    "169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.169.123", "169.254.255.255", "fe80::1", "fe80::a:b%1",
    "febf::1", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "192.0.0.192", "100.100.100.200",
    # carrier NAT, protocol assignments, relays
    "100.64.0.1", "100.127.255.254", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.0.255", "192.88.99.1",
    # multicast, reserved
    "224.0.0.1", "224.0.0.251", "239.255.255.250", "239.255.255.255", "240.0.0.1", "250.1.2.3", "ff02::1", "ff02::fb",
    "ff0e::1", "ff05::2", "fec0::1", "feff::1",
    # IPv4 inside IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:192.168.1.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8",
    "::ffff:0.0.0.0", "::127.0.0.1", "::10.0.0.1", "::192.168.1.1", "::8.8.8.8", "::ffff:0:127.0.0.1",
    "::ffff:0:10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::8.8.8.8",
    "64:ff9b:1::127.0.0.1", "64:ff9b:1::1", "2002:7f00:1::", "2002:7f00:1::1", "2002:a00:1::1", "2002:c0a8:101::1",
    "2002:a9fe:a9fe::1", "2002:808:808::1", "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:0:7f00:1::", "2001:0:ffff:ffff::1",
]  # fmt: skip
NOT_ROUTED = [
    "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "2001:db8::1", "100::1", "2001:10::1",
    "2001:2::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_vendor_may_have_this_address(address):
    assert is_public(ip_address(address))
    assert not is_lan(ip_address(address))


@pytest.mark.parametrize("address", LAN)
def test_a_device_may_have_this_address(address):
    assert is_lan(ip_address(address))
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", NEVER)
def test_neither_vendor_nor_device_may_have_this_address(address):
    assert not is_public(ip_address(address))
    assert not is_lan(ip_address(address))


@pytest.mark.parametrize("address", NOT_ROUTED)
def test_no_vendor_has_an_address_outside_the_internet(address):
    assert not is_public(ip_address(address))


def test_the_table_of_addresses_is_as_long_as_promised():
    assert len({*PUBLIC, *LAN, *NEVER, *NOT_ROUTED}) >= 110


def own_addresses() -> list[str]:
    return subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()


def test_an_address_of_this_machine_is_no_device():
    own = [address for address in own_addresses() if ip_address(address).is_private]
    if not own:
        pytest.skip("this machine has no private address")
    assert [address for address in own if is_lan(ip_address(address))] == []


# Names and number forms ----------------------------------------------------------------------------------------------

PLAIN_HOSTS = {
    "192.168.1.50": "192.168.1.50",
    " 192.168.1.50 ": "192.168.1.50",
    "192.168.1.50.": "192.168.1.50",
    "FD12:3456:789A:0:0:0:0:1": "fd12:3456:789a::1",
    "Envoy.Local": "envoy.local",
    "envoy": "envoy",
    "envoy-2.home.arpa.": "envoy-2.home.arpa",
    "3com.example": "3com.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "https://192.168.1.50": "192.168.1.50",
    "HTTPS://192.168.1.50:443/home#/production": "192.168.1.50",
    "http://envoy.local/": "envoy.local",
    "192.168.1.50/admin": "192.168.1.50",
    "[fd00::1]": "fd00::1",
    "https://[fd00::1]:443/home": "fd00::1",
}
ODD_HOSTS = [
    "ftp://192.168.1.50", "https://", "https:///home", "https://user@192.168.1.50/", "https://192.168.1.50:8443/home",
    "https://https://192.168.1.50", "https://192.168.1.50\\@evil.example/", "https://[fd00::1", "https://192.168.1.50/é",
    "", " ", ".", "..", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1",
    "127.0.1", "10.1", "192.168.1", "192.168.1.050", "192.168.1.256", "192.168.1.1.1", "1e3", "0", "00", "0x0",
    "10.0.0.0x1", "192.168.1.50:8080", "//envoy",
    "user@envoy", "user:word@192.168.1.50", "envoy#x", "envoy?x", "en voy", "envoy\t", "en\nvoy", "envoy\r\nHost: x",
    "envoy\x00", "envoy\\x", "*.example", "-envoy", "envoy-", "a..b", ".envoy", "_envoy", "en_voy", "a" * 64,
    ".".join(["a" * 60] * 5), "fd00::1::2", "fd00:::1", "fe80::1%eth0", "fe80::1%25eth0",
    "fd00::1%1", "bücher.example", "envоy.local", "１９２.168.1.1", "①②⑦.0.0.1", "127。0。0。1", "envoy%2elocal",
    "%31%32%37.0.0.1", "localhost:80", "envoy,other", "envoy;x", "12345", "a.1", "example.0x1",
]  # fmt: skip


def lan_factory(*networks: str) -> HttpFactory:
    return HttpFactory(allowed_networks=networks or ("10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "127.0.0.0/8"))


@pytest.mark.parametrize("typed", PLAIN_HOSTS)
async def test_a_device_address_is_brought_into_normal_form(typed):
    async with lan_factory().device(typed) as device:
        bare = device.origin.removeprefix("https://").strip("[]")
    assert bare == PLAIN_HOSTS[typed]


@pytest.mark.parametrize("typed", [odd for odd in ODD_HOSTS if odd not in ("envoy\t",)])
def test_an_odd_device_address_is_refused(typed):
    with pytest.raises(DeviceUnreachable) as caught:
        lan_factory().device(typed)
    assert str(caught.value) == "That is not an IP address or a host name"


@pytest.mark.parametrize("typed", ["172.16.0.1", "8.8.8.8", "https://172.16.0.1/home", "169.254.169.254", "[::1]"])
def test_an_address_outside_the_allowed_networks_is_named_so_before_any_packet(typed):
    with pytest.raises(DeviceUnreachable, match="lies in no network"):
        lan_factory().device(typed)


def test_without_allowed_networks_no_device_is_reached():
    with pytest.raises(DeviceUnreachable, match="may not reach devices"):
        HttpFactory().device("192.168.1.50")


# The guard where the socket is opened --------------------------------------------------------------------------------


class Dialled:
    """Stands in for the real network under the guard: notes each target, connects nowhere."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: Any) -> Any:
        self.targets.append((host, port))
        raise httpcore.ConnectError("dialled")


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Each lookup takes the next answer, the last one for ever. Answers the names looked up."""
    asked: list[str] = []

    async def getaddrinfo(host: Any, port: int, **_: Any) -> list[Any]:
        asked.append(host.decode() if isinstance(host, bytes) else host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def dial(allowed: Any, host: str) -> list[tuple[str, int]]:
    backend, dialled = GuardedBackend(allowed, {}), Dialled()
    backend._inner = dialled  # type: ignore[assignment]
    with pytest.raises(httpcore.ConnectError):
        await backend.connect_tcp(host, 443)
    return dialled.targets


@pytest.mark.parametrize("address", NEVER)
async def test_a_vendor_name_that_resolves_inside_is_not_dialled(monkeypatch, address):
    resolving(monkeypatch, [address])
    assert await dial(is_public, HOST) == []


@pytest.mark.parametrize("address", [*LAN, *NOT_ROUTED])
async def test_a_vendor_name_that_resolves_to_a_home_is_not_dialled(monkeypatch, address):
    resolving(monkeypatch, [address])
    assert await dial(is_public, HOST) == []


@pytest.mark.parametrize("address", PUBLIC)
async def test_a_public_address_is_dialled_as_it_was_checked(monkeypatch, address):
    asked = resolving(monkeypatch, [address], ["127.0.0.1"])
    assert await dial(is_public, HOST) == [(address, 443)]
    assert asked == [HOST]


@pytest.mark.parametrize(
    "found",
    [[], ["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["1.1.1.1", "::1"], ["2606:4700::1111", "10.0.0.1"]],
)
async def test_one_bad_address_spoils_the_whole_answer(monkeypatch, found):
    resolving(monkeypatch, found)
    assert await dial(is_public, HOST) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::", "::ffff:127.0.0.1"])
async def test_a_literal_address_is_guarded_too(host):
    assert await dial(is_public, host) == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0"])
async def test_a_number_form_that_the_resolver_understands_is_guarded_too(monkeypatch, host):
    resolving(monkeypatch, [str(ip_address(int(socket.inet_aton(host).hex(), 16)))])
    assert await dial(is_public, host) == []
    assert await dial(is_lan, host) == []


@pytest.mark.parametrize("address", NEVER)
async def test_a_device_name_never_leads_to_a_forbidden_address_inside_any_network(monkeypatch, address):
    resolving(monkeypatch, [address])
    factory = lan_factory("0.0.0.0/0", "::/0")
    assert await dial(factory.device_rule, "envoy.local") == []


@pytest.mark.parametrize(
    ("address", "dialled"),
    [("192.168.1.50", True), ("192.168.2.50", False), ("10.0.0.1", False), ("8.8.8.8", False), ("fd12::1", False)],
)
async def test_a_device_is_dialled_inside_the_allowed_network_only(monkeypatch, address, dialled):
    resolving(monkeypatch, [address])
    targets = await dial(lan_factory("192.168.1.0/24").device_rule, "envoy.local")
    assert targets == ([(address, 443)] if dialled else [])


async def test_a_name_that_turns_to_loopback_after_its_first_answer_reaches_no_loopback_server(monkeypatch, serve):
    served = await serve(http_answer())
    asked = resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    factory = HttpFactory()
    client = factory.vendor((HOST,))
    client._hosts = (f"{HOST}:{served.port}",)  # so that only the address is in the way
    backend = CLIENT.of(client)._transport._pool._pools[0]._network_backend  # type: ignore[attr-defined]
    real, dialled = backend._inner, Dialled()
    backend._inner = dialled
    with pytest.raises(TransientError):
        await client.request("GET", f"https://{HOST}:{served.port}/")
    backend._inner = real
    for _ in range(3):
        with pytest.raises(TransientError):
            await client.request("GET", f"https://{HOST}:{served.port}/")
    await factory.close()
    assert dialled.targets == [("93.184.216.34", served.port)]
    assert asked == [HOST] * 4
    assert served.connections == 0


async def test_unix_sockets_are_refused():
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(is_public, {}).connect_unix_socket("/run/docker.sock")


async def test_refused_addresses_closed_ports_and_unknown_names_look_alike(monkeypatch, serve):
    served = await serve(http_answer())
    factory = lan_factory()
    texts = set()
    for found in (["127.0.0.1"], ["8.8.8.8"], []):
        resolving(monkeypatch, found)
        async with factory.device("envoy.local") as device:
            with pytest.raises(DeviceUnreachable) as caught:
                await device.request("GET", device.origin + "/info")
            texts.add((str(caught.value), caught.value.detail))
    assert texts == {("GET envoy.local/info cannot be reached", "ConnectError")}
    assert served.connections == 0


# Where a vendor's client goes ----------------------------------------------------------------------------------------


@asynccontextmanager
async def vendor_at(served: Served) -> AsyncIterator[Http]:
    factory = HttpFactory(reroute={HOST: served.origin})
    try:
        yield factory.vendor((HOST,))
    finally:
        await factory.close()


REFUSED_URLS = [
    "http://api.vendor.example/", "https://other.example/", "https://vendor.example/", "https://api.vendor.example./",
    "https://api.vendor.example.evil.example/", "https://evil.example/?https://api.vendor.example/",
    "https://evil.example#@api.vendor.example/", "https://user@api.vendor.example/",
    "https://user:word@api.vendor.example/", "https://api.vendor.example@evil.example/", "https://127.0.0.1/",
    "https://[::1]/", "https://169.254.169.254/latest/meta-data/", "ftp://api.vendor.example/", "file:///etc/passwd",
    "//api.vendor.example/", "/relative", "", "https:///path", "javascript:alert(1)", "https://api%2evendor.example/",
    "https://аpi.vendor.example/", "https://xn--pi-7kc.vendor.example/", "ws://api.vendor.example/",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED_URLS)
async def test_a_url_outside_the_declared_hosts_is_refused_before_any_packet(serve, url):
    served = await serve(http_answer())
    async with vendor_at(served) as client:
        with pytest.raises(PluginBug):
            await client.request("GET", url)
    assert served.connections == 0


def test_traffic_is_rerouted_to_loopback_only():
    for target in ("http://10.0.0.1:80", "http://localhost:80", "http://127.0.0.2:80", "https://evil.example"):
        with pytest.raises(ValueError, match=r"not on 127\.0\.0\.1"):
            HttpFactory(reroute={HOST: target})


async def test_calls_at_once_spread_over_small_pools_and_calls_in_turn_keep_to_one_connection():
    begun, go_on, served = 0, asyncio.Event(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        served.append(asyncio.current_task())
        while await reader.read(4096):
            begun += 1
            await go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    factory = HttpFactory(reroute={HOST: f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    client = factory.vendor((HOST,), concurrency=20)
    calls = [asyncio.create_task(client.request("GET", f"https://{HOST}/")) for _ in range(30)]
    while begun < 20:
        await asyncio.sleep(0.01)
    pools = CLIENT.of(client)._transport._pool._pools  # type: ignore[attr-defined]
    assert [len(pool.connections) for pool in pools] == [3, 3, 3, 3, 2, 2, 2, 2]
    go_on.set()
    await asyncio.gather(*calls)
    assert len(served) == 20
    for _ in range(5):
        await client.request("GET", f"https://{HOST}/")
    assert len(served) == 20
    await factory.close()
    await asyncio.gather(*served)
    server.close()


class Closing:
    """A server that closes a connection when a second call comes on it, as one does that was about to."""

    def __init__(self) -> None:
        self.connections = 0
        self._open: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        await reader.read(4096)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await reader.read(4096)
        writer.close()

    async def ended(self) -> None:
        await asyncio.gather(*self._open)


@pytest.fixture
async def closing():
    closing = Closing()
    server = await asyncio.start_server(closing.answer, "127.0.0.1", 0)
    factory = HttpFactory(reroute={HOST: f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    yield closing, factory.vendor((HOST,))
    await factory.close()
    await closing.ended()
    server.close()


async def test_no_token_is_sent_on_a_connection_kept_from_an_earlier_call(closing):
    server, client = closing
    await client.request("GET", f"https://{HOST}/")
    for _ in range(3):
        answer = await client.request("POST", f"https://{HOST}/token", form={"refresh_token": "one"}, exchange=True)
        assert answer.status == 200
    assert server.connections == 4


async def test_a_connection_that_a_server_may_be_closing_is_not_used_again(closing, monkeypatch):
    server, client = closing
    await client.request("GET", f"https://{HOST}/")
    with pytest.raises(TransientError, match="cut off"):
        await client.request("GET", f"https://{HOST}/")
    await client.request("GET", f"https://{HOST}/")
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + 4.5)  # servers close after five seconds
    await client.request("GET", f"https://{HOST}/")
    assert server.connections == 3


def test_vendors_with_other_hosts_share_no_client():
    factory = HttpFactory()
    assert factory.vendor(("a.example",)) is factory.vendor(("a.example",))
    assert factory.vendor(("a.example",)) is not factory.vendor(("b.example",))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["https://evil.example/", "/next", "http://169.254.169.254/"])
async def test_a_redirect_is_an_answer_and_is_not_followed(serve, status, to):
    served = await serve(http_answer(status=f"{status} Moved", location=to), http_answer())
    async with vendor_at(served) as client:
        answer = await client.request("GET", f"https://{HOST}/start")
    assert answer.status == status
    assert len(served.requests) == 1
    with pytest.raises(UnexpectedPayload):
        raise_for_status(answer)


async def test_proxies_of_the_environment_are_ignored(serve, monkeypatch):
    proxy, served = await serve(http_answer()), await serve(http_answer())
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.origin)
    async with vendor_at(served) as client:
        assert (await client.request("GET", f"https://{HOST}/")).ok
    assert (proxy.connections, served.connections) == (0, 1)


async def test_netrc_credentials_are_ignored(serve, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    served = await serve(http_answer())
    async with vendor_at(served) as client:
        await client.request("GET", f"https://{HOST}/")
    assert b"authorization" not in served.requests[0].lower()


async def test_a_vendor_client_keeps_no_cookie_between_calls(serve):
    served = await serve(http_answer(set_cookie="sid=first-owner; Path=/"))
    async with vendor_at(served) as client:
        for _ in range(3):
            await client.request("GET", f"https://{HOST}/")
    assert [b"cookie" in request.lower() for request in served.requests] == [False] * 3


@pytest.mark.parametrize(
    ("url", "params", "sent"),
    [
        ("/a", None, b"GET /a HTTP"),
        ("/a?x=1&x=2", None, b"GET /a?x=1&x=2 HTTP"),
        ("/a?x=1&x=2", {"y": 3}, b"GET /a?x=1&x=2&y=3 HTTP"),
        ("/a?x=1", {"x": "2"}, b"GET /a?x=2 HTTP"),
        ("/a", {"x": "a b&c"}, b"GET /a?x=a+b%26c HTTP"),
    ],
)
async def test_query_parameters_arrive_as_given(serve, url, params, sent):
    served = await serve(http_answer())
    async with vendor_at(served) as client:
        await client.request("GET", f"https://{HOST}{url}", params=params)
    assert served.requests[0].replace(b"%20", b"+").startswith(sent)


async def test_form_json_and_basic_credentials_arrive_as_given(serve):
    served = await serve(http_answer())
    async with vendor_at(served) as client:
        await client.request("POST", f"https://{HOST}/f", form={"a": "b c"}, basic=("id", "word"))
        await client.request("POST", f"https://{HOST}/j", json={"a": 1})
    assert served.requests[0].endswith(b"a=b+c")
    assert b"authorization: basic awq6d29yza==" in served.requests[0].lower()
    assert served.requests[1].endswith(b'{"a":1}')
    assert b"content-type: application/json" in served.requests[1].lower()


# What comes back -----------------------------------------------------------------------------------------------------


class Numbers(msgspec.Struct):
    power: float
    parts: list[float] = []
    kind: str = ""


async def fetch(served: Served, *, deadline: float = 5.0, exchange: bool = False) -> Answer:
    async with vendor_at(served) as client:
        return await client.request(
            "GET", f"https://{HOST}/data?api_key={QUERY_SECRET}", deadline=deadline, exchange=exchange
        )


async def test_an_answer_is_decoded_into_its_type(serve):
    answer = await fetch(await serve(http_answer(b'{"power": "12.5", "other": 1}')))
    assert answer.json(Numbers) == Numbers(power=12.5)
    assert repr(answer) == "Answer(200 from GET api.vendor.example/data, 29 bytes)"


BODIES = {
    "html": b"<!DOCTYPE html><title>x</title>",
    "html after blanks": b"\n  <html>",
    "empty": b"",
    "cut": b'{"power": 1',
    "cut in a string": b'{"power": "1',
    "two documents": b'{"power": 1}{"power": 2}',
    "plain text": b"OK",
    "null": b"null",
    "list": b"[]",
    "member missing": b"{}",
    "other type": b'{"power": []}',
    "bool": b'{"power": {}}',
    "not utf-8": b'{"power": 1, "kind": "\xff"}',
    "bare NaN": b'{"power": NaN}',
    "bare Infinity": b'{"power": Infinity}',
    "NaN as text": b'{"power": "NaN"}',
    "nan as text": b'{"power": "nan"}',
    "infinity as text": b'{"power": "-Infinity"}',
    "NaN in a list": b'{"power": 1, "parts": [1, "nan"]}',
    "number too large": b'{"power": 1e999}',
    "number too large as text": b'{"power": "1e999"}',
    "deep": b'{"parts":' + b"[" * 100_000,
    "unknown member deep": b'{"power": 1, "x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_other_than_documented_is_told_without_its_text(kind):
    answer = Answer(200, {}, BODIES[kind], "GET api.vendor.example/data")
    with pytest.raises(UnexpectedPayload) as caught:
        answer.json(Numbers)
    assert str(caught.value).startswith("GET api.vendor.example/data answered something unexpected (")


def test_the_text_of_an_answer_is_for_the_operator_only():
    class Named(msgspec.Struct):
        kind: Any
        colour: str

    import typing

    colours = typing.Literal["red", "blue"]
    with pytest.raises(UnexpectedPayload) as caught:
        Answer(200, {}, b'"whatever-the-vendor-says"', "GET x/y").json(colours)  # type: ignore[arg-type]
    assert "whatever" not in str(caught.value)
    assert "whatever" in (caught.value.detail or "")


def test_text_that_looks_like_infinity_is_text():
    assert Answer(200, {}, b'{"power": 1, "kind": "Infinity"}', "x").json(Numbers).kind == "Infinity"


async def test_a_compressed_answer_is_unpacked(serve):
    served = await serve(http_answer(gzip.compress(b'{"power": 3}'), content_encoding="gzip"))
    assert (await fetch(served)).json(Numbers).power == 3.0
    assert b"accept-encoding: gzip\r\n" in served.requests[0].lower()


async def test_an_answer_of_the_largest_size_passes(serve):
    assert len((await fetch(await serve(http_answer(b" " * MAX_ANSWER_BYTES)))).content) == MAX_ANSWER_BYTES


BOMB = gzip.compress(b"0" * (40 * 2**20))
TOO_MUCH = {
    "plain": http_answer(b" " * (MAX_ANSWER_BYTES + 1)),
    "without a length": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_ANSWER_BYTES + 1),
    "gzip bomb": http_answer(BOMB, content_encoding="gzip"),
    "error answer": http_answer(b" " * (MAX_ANSWER_BYTES + 1), "500 Oops"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_an_answer_without_end_is_dropped(serve, kind):
    with pytest.raises(UnexpectedPayload, match="more than"):
        await fetch(await serve(TOO_MUCH[kind]))


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "br", "zstd", "deflate", "gzip, gzip, gzip", "x"])
async def test_an_encoding_nobody_asked_for_is_not_unpacked(serve, encoding):
    served = await serve(http_answer(gzip.compress(gzip.compress(b"{}")), content_encoding=encoding))
    with pytest.raises(UnexpectedPayload, match="does not decompress"):
        await fetch(served)


async def test_a_body_that_is_not_the_gzip_it_claims_is_told(serve):
    with pytest.raises(UnexpectedPayload, match="does not decompress"):
        await fetch(await serve(http_answer(b"{}", content_encoding="gzip")))


CUT_BODY = CUT + b"\r\ncontent-length: 100\r\n\r\n{"
SLOW_BODY = TRICKLE + b"\r\ncontent-length: 100\r\n\r\n{"
MISHAPS = {
    "closed without an answer": b"",
    "reset": RESET,
    "half a status line": b"HTTP/1.",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "half a body": CUT_BODY,
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{",
}


@pytest.mark.parametrize("kind", MISHAPS)
async def test_an_answer_cut_off_is_transient(serve, kind):
    with pytest.raises(TransientError) as caught:
        await fetch(await serve(MISHAPS[kind]))
    assert type(caught.value) is TransientError


@pytest.mark.parametrize("kind", MISHAPS)
async def test_a_token_call_cut_off_has_an_unknown_outcome(serve, kind):
    served = await serve(MISHAPS[kind])
    with pytest.raises(OutcomeUnknown):
        await fetch(served, exchange=True)
    assert len(served.requests) == 1  # no silent retry


@pytest.mark.parametrize("script", [HANG, SLOW_BODY], ids=["no answer", "slow body"])
@pytest.mark.parametrize(("exchange", "error"), [(False, VendorTimeout), (True, OutcomeUnknown)])
async def test_the_deadline_is_total(serve, script, exchange, error):
    served = await serve(script)
    with pytest.raises(error):
        await fetch(served, deadline=0.3, exchange=exchange)
    assert len(served.requests) == 1


async def test_a_token_answer_that_does_not_unpack_has_an_unknown_outcome(serve):
    with pytest.raises(OutcomeUnknown):
        await fetch(await serve(http_answer(b"{}", content_encoding="gzip")), exchange=True)


@pytest.mark.parametrize("exchange", [False, True])
async def test_a_refused_connection_is_transient_even_for_a_token_call(exchange):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(TransientError) as caught:
        await fetch(Served([], port), exchange=exchange)
    assert type(caught.value) is TransientError


@pytest.mark.parametrize("exchange", [False, True])
async def test_a_name_that_does_not_resolve_is_transient_even_for_a_token_call(exchange):
    factory = HttpFactory()
    with pytest.raises(TransientError) as caught:
        await factory.vendor((HOST,)).request("GET", f"https://{HOST}/", exchange=exchange)
    await factory.close()
    assert type(caught.value) is TransientError


@pytest.mark.parametrize("exchange", [False, True])
async def test_a_certificate_nobody_signed_is_transient_even_for_a_token_call(serve, tmp_path, exchange):
    tls, _ = server_tls(tmp_path)
    served = await serve(http_answer(), tls=tls)
    served_https = Served([], served.port)
    factory = HttpFactory(reroute={HOST: served_https.origin.replace("http", "https")})
    with pytest.raises(TransientError) as caught:
        await factory.vendor((HOST,)).request("GET", f"https://{HOST}/", exchange=exchange)
    await factory.close()
    assert type(caught.value) is TransientError
    assert served.requests == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None), (204, None), (299, None), (302, UnexpectedPayload), (400, UnexpectedPayload),
        (401, UnexpectedPayload), (403, UnexpectedPayload), (404, UnexpectedPayload), (408, TransientError),
        (425, TransientError), (429, RateLimited), (500, TransientError), (502, TransientError),
        (503, TransientError), (504, TransientError), (529, TransientError), (599, TransientError),
    ],
)  # fmt: skip
def test_a_status_has_one_class(status, error):
    answer = Answer(status, {"retry-after": "7"}, b"", "GET x/y")
    if error is None:
        assert raise_for_status(answer) is None  # type: ignore[func-returns-value]
        return
    with pytest.raises(error) as caught:
        raise_for_status(answer)
    assert type(caught.value) is error
    assert caught.value.retry_after == (timedelta(seconds=7) if issubclass(error, TransientError) else None)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WAITS = [
    ("0", timedelta(0)), ("1", timedelta(seconds=1)), (" 120 ", timedelta(seconds=120)), ("86400", timedelta(days=1)),
    ("86401", MAX_RETRY_AFTER), ("999999999999999999999999", MAX_RETRY_AFTER), ("9" * 5000, MAX_RETRY_AFTER),
    (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
    (format_datetime(NOW - timedelta(minutes=5), usegmt=True), timedelta(0)),
    (format_datetime(NOW + timedelta(days=400), usegmt=True), MAX_RETRY_AFTER),
    ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER), ("Mon, 01 Jan 0001 00:00:00 GMT", timedelta(0)),
    ("Sunday, 01-Mar-26 12:05:00 GMT", timedelta(minutes=5)),
    ("", None), ("-5", None), ("1.5", None), ("soon", None), ("1e9", None), ("NaN", None), ("²", None), ("٣", None),
    ("0x10", None), ("Mon, 99 Jan 2026 00:00:00 GMT", None), ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ("Mon, 01 Jan 2026 00:00:00 +9999", None), (",", None), ("\x00", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wait"), WAITS, ids=[ascii(value)[:20] for value, _ in WAITS])
def test_retry_after_in_both_forms_and_none(value, wait):
    assert Answer(429, {"retry-after": value}, b"", "x").retry_after(NOW) == wait


def test_no_retry_after_is_none():
    assert Answer(429, {}, b"", "x").retry_after(NOW) is None


async def test_an_odd_retry_after_on_the_wire_does_not_break_the_call(serve):
    odd = http_answer(status="429 Slow").replace(b"\r\n\r\n", b"\r\nretry-after: \xb2\r\n\r\n", 1)
    with pytest.raises(RateLimited):
        raise_for_status(await fetch(await serve(odd)))


# Devices -------------------------------------------------------------------------------------------------------------


def server_tls(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A self-signed server context and its fingerprint."""
    certificate, key = self_signed(folder, name="device")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


async def test_a_device_with_the_pinned_certificate_is_read(serve, tmp_path):
    tls, pin = server_tls(tmp_path)
    served = await serve(http_answer(b'{"power": 1}'), tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port, pin_sha256=pin) as device:
        answer = await device.request("GET", device.origin + "/info", headers={"authorization": "Bearer abc"})
        assert (device.address, device.peer_sha256) == ("127.0.0.1", pin)
    assert answer.ok


async def test_a_device_seen_for_the_first_time_tells_its_certificate(serve, tmp_path):
    tls, pin = server_tls(tmp_path)
    served = await serve(http_answer(), tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port) as device:
        assert (await device.request("GET", device.origin + "/info")).ok
        assert device.peer_sha256 == pin


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("exchange", [False, True])
async def test_a_device_with_another_certificate_sees_no_request(serve, tmp_path, newest, exchange):
    tls, pin = server_tls(tmp_path)
    tls.maximum_version = newest
    served = await serve(http_answer(), tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port, pin_sha256="0" * 64) as device:
        for _ in range(2):
            with pytest.raises(DeviceIdentityChanged):
                await device.request("GET", device.origin + "/x", headers={"authorization": "a"}, exchange=exchange)
        assert device.peer_sha256 == pin
    assert served.requests == []


async def test_a_device_client_keeps_its_own_cookies(serve, tmp_path):
    tls, pin = server_tls(tmp_path)
    served = await serve(http_answer(set_cookie="sessionId=abc; Path=/"), tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port, pin_sha256=pin) as device:
        await device.request("GET", device.origin + "/auth/check_jwt")
        await device.request("GET", device.origin + "/info")
    async with HttpFactory().operator_device("127.0.0.1", served.port, pin_sha256=pin) as other:
        await other.request("GET", other.origin + "/info")
    assert [b"cookie: sessionid=abc" in request.lower() for request in served.requests] == [False, True, False]


async def test_a_device_client_reaches_no_other_host(serve, tmp_path):
    tls, _ = server_tls(tmp_path)
    served = await serve(http_answer(), tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port) as device:
        for url in (f"https://localhost:{served.port}/", f"http://127.0.0.1:{served.port}/", "https://10.0.0.1/"):
            with pytest.raises(PluginBug):
                await device.request("GET", url)
    assert served.connections == 0


@pytest.mark.parametrize("address", ["224.0.0.1", "ff02::1"])
async def test_the_operator_names_no_multicast_device(address):
    async with HttpFactory().operator_device(address) as device:
        with pytest.raises(DeviceUnreachable):
            await device.request("GET", device.origin + "/")


async def test_a_device_that_hangs_up_is_unreachable(serve, tmp_path):
    tls, _ = server_tls(tmp_path)
    served = await serve(RESET, tls=tls)
    async with HttpFactory().operator_device("127.0.0.1", served.port) as device:
        with pytest.raises(DeviceUnreachable):
            await device.request("GET", device.origin + "/")


# Silence -------------------------------------------------------------------------------------------------------------

FAILURES = {"cut": CUT_BODY, "reset": RESET, "hang": HANG, "html": http_answer(b"<html>"), "big": TOO_MUCH["plain"]}


@pytest.mark.parametrize("kind", FAILURES)
async def test_no_exception_shows_the_query(serve, kind):
    served = await serve(FAILURES[kind])
    with pytest.raises(VendorError) as caught:
        (await fetch(served, deadline=0.5)).json(Numbers)
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error.__dict__)
    assert QUERY_SECRET not in shown
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


async def test_the_clients_below_log_nothing_at_any_level(serve):
    served = await serve(http_answer())
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    names = ["", "httpx", "httpcore", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy"))]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    try:
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        await fetch(served)
        logging.getLogger("joinder.test").debug("the handler works")
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert len(served.requests) == 1
    lines = [line for line in stream.getvalue().splitlines() if "selector" not in line]
    assert lines == ["the handler works"]


async def test_clients_of_ever_new_hosts_are_bounded_and_closed(monkeypatch):
    """API4: an app whose endpoint is changed again and again leaves no client behind for ever."""
    monkeypatch.setattr("joinder.http.factory.CLIENTS_MOST", 3)
    factory = HttpFactory()
    made = [factory.vendor((f"host-{number}.example",)) for number in range(6)]
    kept = factory.vendor(("host-5.example",))
    assert kept is made[5]
    assert len(factory._vendors) == 3
    assert not any(CLIENT.of(one).is_closed for one in made)  # whoever was lent one may be in a call
    assert factory.vendor(("host-0.example",)) is not made[0]
    await factory.close()
    assert all(CLIENT.of(one).is_closed for one in made)
    assert all(task.done() for task in factory._closing)


async def test_a_client_that_was_dropped_is_closed_when_its_calls_must_have_ended(monkeypatch):
    monkeypatch.setattr("joinder.http.factory.CLIENTS_MOST", 1)
    monkeypatch.setattr("joinder.http.factory.LONGEST_CALL_S", 0.0)
    factory = HttpFactory()
    first, _ = factory.vendor(("a.example",)), factory.vendor(("b.example",))
    await asyncio.gather(*factory._closing)
    assert CLIENT.of(first).is_closed
    await factory.close()
