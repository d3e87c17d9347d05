"""Makes the clients of one process, and closes them."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import httpx

from joinder.behind import Behind
from joinder.egress import Address, GuardedBackend, is_lan, is_literal, is_public, plain_host
from joinder.errors import DeviceUnreachable, PluginBug
from joinder.grants import DeviceAccess
from joinder.http.client import Http
from joinder.http.devices import DeviceHttp
from joinder.http.own import OwnHttp
from joinder.http.transport import new_client, no_cookies
from joinder.http.webhooks import LOOPBACK, WebhookHttp
from joinder.skew import ClockSkew
from joinder.vendor import Vendor

CLIENTS_MOST = 256  # the hosts of apps are their accounts' text
LONGEST_CALL_S = 120.0  # beyond a hook's deadline
_FACTORY: Behind[HttpFactory] = Behind()


class _DeviceDoor:
    def __init__(self, factory: HttpFactory, ports: tuple[int, ...], *, is_plain: bool) -> None:
        self._ports, self._is_plain = ports, is_plain
        _FACTORY.put(self, factory)

    def __call__(self, address: str, *, pin_sha256: str | None = None, port: int | None = None) -> DeviceHttp:
        if port is not None and port not in self._ports:
            raise PluginBug(f"port {port} of a device refused: the vendor declares {', '.join(map(str, self._ports))}")
        return _FACTORY.of(self).device(
            address, pin_sha256=pin_sha256, port=port or self._ports[0], is_plain=self._is_plain
        )


def _is_allowed(networks: tuple[IPv4Network | IPv6Network, ...], address: Address) -> bool:
    return is_lan(address) and any(address in network for network in networks)


class HttpFactory:
    """Makes the clients of one process and closes them. `reroute` sends declared hosts to loopback simulators.

    `loopback_webhooks`: webhooks may go to http://127.0.0.1, which only a server that is itself there wants.
    """

    def __init__(
        self,
        *,
        allowed_networks: tuple[str, ...] = (),
        reroute: Mapping[str, str] | None = None,
        loopback_webhooks: bool = False,
    ) -> None:
        self.reroute = dict(reroute or {})
        for stand_in in self.reroute.values():
            if httpx.URL(stand_in).host != LOOPBACK:
                raise ValueError(f"reroute target {stand_in} is not on 127.0.0.1")
        self._has_networks = bool(allowed_networks)
        self.device_rule = partial(_is_allowed, tuple(ip_network(network) for network in allowed_networks))
        self._context: ssl.SSLContext | None = None
        self._vendors: OrderedDict[tuple[str, ...], Http] = OrderedDict()
        self._closing: dict[asyncio.Task[None], Http] = {}
        self.skew = ClockSkew()
        self._loopback_webhooks = loopback_webhooks
        self._webhooks: WebhookHttp | None = None

    def vendor(self, hosts: tuple[str, ...], *, concurrency: int = 100) -> Http:
        """Returns the shared client for a vendor's declared hosts; the ones used last are kept."""
        if hosts not in self._vendors:
            backend = GuardedBackend(is_public, self._stand_ins())
            client = new_client(self._tls(), backend, cookies=no_cookies(), concurrency=concurrency)
            self._vendors[hosts] = Http(client, hosts=hosts, reroute=self.reroute, skew=self.skew)
        self._vendors.move_to_end(hosts)
        while len(self._vendors) > CLIENTS_MOST:
            self._close_later(self._vendors.popitem(last=False)[1])
        return self._vendors[hosts]

    def _close_later(self, http: Http) -> None:
        """Closes it when nobody it was lent to can still be in a call."""

        async def closed() -> None:
            await asyncio.sleep(LONGEST_CALL_S)
            await http.close()

        task = asyncio.create_task(closed())
        self._closing[task] = http
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    def device_access(self, vendor: Vendor) -> DeviceAccess:
        """Returns `device`, to be lent to this vendor's plugin."""
        return _DeviceDoor(self, vendor.reachable_ports, is_plain=vendor.device_access == "plain")

    def device(
        self, address: str, *, pin_sha256: str | None = None, port: int = 443, is_plain: bool = False
    ) -> DeviceHttp:
        """Makes a client for a device an owner named: an address or plain name in the allowed networks.

        Raises DeviceUnreachable for anything else; what it says depends on what was typed and on the settings, never
        on what is in the network.
        """
        if not self._has_networks:
            raise DeviceUnreachable("This server may not reach devices in any network; its operator must allow one")
        host = plain_host(address)
        stand_ins = self._stand_ins()
        if is_literal(host) and not self.device_rule(ip_address(host)) and (host, port) not in stand_ins.values():
            raise DeviceUnreachable(
                "That address lies in no network that this server may reach; ask those who sent you the link"
            )
        backend = GuardedBackend(self.device_rule, stand_ins)
        return DeviceHttp(host, port, pin_sha256, backend, is_plain=is_plain)

    def operator_device(self, host: str, port: int = 443, *, pin_sha256: str | None = None) -> DeviceHttp:
        """Makes a client for a device the operator names at a command line: any unicast address, any port."""
        return DeviceHttp(
            host, port, pin_sha256, GuardedBackend(lambda address: not address.is_multicast, self._stand_ins())
        )

    def webhooks(self) -> WebhookHttp:
        """Returns the shared client for integrators' endpoints: https and public addresses only."""
        if self._webhooks is None:
            self._webhooks = WebhookHttp(self._tls(), loopback=self._loopback_webhooks)
        return self._webhooks

    def own(self, origin: str) -> OwnHttp:
        """Makes a client for the installation's own address; the caller closes it."""
        return OwnHttp(self._tls(), origin)

    async def close(self) -> None:
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for http in (*closing.values(), *self._vendors.values(), *([self._webhooks] if self._webhooks else [])):
            await http.close()
        self._vendors.clear()
        self._webhooks = None

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx.create_ssl_context(trust_env=False)  # 70 ms of CPU: one per process
        return self._context

    def _stand_ins(self) -> dict[tuple[str, int], tuple[str, int]]:
        dial = {}
        for declared, stand_in in self.reroute.items():
            origin, host = httpx.URL(stand_in), httpx.URL(f"https://{declared}")
            target = (origin.host, origin.port or 443)
            dial[(host.host, host.port or 443)] = target
            dial[target] = target
        return dial
