"""Run by test_derapi_client.py with the Python of an environment that holds `derapi`.

Arguments: BASE_URL REAL_TOKEN VIRTUAL_TOKEN TYPES, the last being [[vendor, type of credentials]] as JSON.
Calls every operation of the client as its users do, blocking and not, each answer parsed by the client's own models.
Prints what it saw as JSON: by operation, how often it was called and how, and the answers worth a look.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import derapi.api
from derapi import AuthenticatedClient
from derapi.models.battery_mode import BatteryMode
from derapi.models.create_join_session_request import CreateJoinSessionRequest
from derapi.models.create_vendor_credentials_request import CreateVendorCredentialsRequest
from derapi.models.create_virtual_battery_request import CreateVirtualBatteryRequest
from derapi.models.create_virtual_site_request import CreateVirtualSiteRequest
from derapi.models.create_virtual_solar_inverter_request import CreateVirtualSolarInverterRequest
from derapi.models.enphase_developer_app_credentials import EnphaseDeveloperAppCredentials
from derapi.models.enphase_partner_app_credentials import EnphasePartnerAppCredentials
from derapi.models.list_vendor_credentials_response import ListVendorCredentialsResponse
from derapi.models.put_site_battery_control_request import PutSiteBatteryControlRequest
from derapi.models.put_site_battery_control_request_interval import PutSiteBatteryControlRequestInterval
from derapi.models.site_battery_control_command import SiteBatteryControlCommand
from derapi.models.sma_join_config import SMAJoinConfig
from derapi.models.stored_credentials_reference import StoredCredentialsReference
from derapi.models.summary_level import SummaryLevel
from derapi.models.update_vendor_credentials_request import UpdateVendorCredentialsRequest
from derapi.models.vendor import Vendor
from derapi.types import UNSET, Unset

APP = {"client_id": "app-1", "client_secret": "upstream-secret", "api_key": "upstream-key"}


def last_june() -> dict[str, datetime]:
    """Returns a day of Berlin that has 24 hours, and lies behind on whatever day this runs."""
    zone, today = timezone(timedelta(hours=2)), datetime.now(UTC)
    day = datetime(today.year if today.month > 6 else today.year - 1, 6, 1, tzinfo=zone)
    return {"start": day, "end": day + timedelta(days=1)}


DAY = last_june()


class Caller:
    """One API client. `called`: operation → the variants of it that were used."""

    def __init__(self, origin: str, token: str, called: dict[str, list[str]]) -> None:
        self.client = AuthenticatedClient(base_url=origin, token=token, raise_on_unexpected_status=True)
        self.lenient = AuthenticatedClient(base_url=origin, token=token)
        self.called = called

    def read(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Reads both ways, which must agree; answers the model."""
        seen = [self._call(operation, variant, args, kwargs) for variant in VARIANTS]
        models = [getattr(answer, "parsed", answer) for answer in seen]
        assert len({json.dumps(shown(model), sort_keys=True) for model in models}) == 1, operation
        return models[0]

    def every(self, operation: str, **kwargs: Any) -> list[Any]:
        """Every entry of a list, page by page, by both variants."""
        module = OPERATIONS[operation]
        found = list(module.sync_depaginated(client=self.client, page_size=1, **kwargs))

        async def walk() -> list[Any]:
            client = self._fresh()
            return [one async for one in module.async_depaginated(client=client, page_size=1, **kwargs)]

        assert [one.id for one in asyncio.run(walk())] == [one.id for one in found], operation
        self.called.setdefault(operation, []).extend(["sync_depaginated", "async_depaginated"])
        return found

    def act(self, operation: str, variant: str, *args: Any, **kwargs: Any) -> Any:
        """Calls one variant, for what must not be done twice."""
        return self._call(operation, variant, args, kwargs)

    def refused(self, operation: str, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """The problems that both detailed variants of an operation are answered with."""
        module = OPERATIONS[operation]
        blocking = module.sync_detailed(*args, client=self.lenient, **kwargs)
        waiting = asyncio.run(module.asyncio_detailed(*args, client=self._fresh(), **kwargs))
        self.called.setdefault(operation, []).extend(["sync_detailed", "asyncio_detailed"])
        return [json.loads(answer.content) for answer in (blocking, waiting)]

    def _call(self, operation: str, variant: str, args: Any, kwargs: Any) -> Any:
        self.called.setdefault(operation, []).append(variant)
        call: Callable[..., Any] = getattr(OPERATIONS[operation], variant)
        if variant.startswith("sync"):
            return call(*args, client=self.client, **kwargs)
        return asyncio.run(call(*args, client=self._fresh(strict=True), **kwargs))

    def _fresh(self, *, strict: bool = False) -> AuthenticatedClient:
        """A client whose connections belong to the event loop of one `asyncio.run`."""
        return AuthenticatedClient(
            base_url=self.client._base_url, token=self.client.token, raise_on_unexpected_status=strict
        )


VARIANTS = ("sync", "asyncio_detailed")
OPERATIONS = {
    module.name: importlib.import_module(f"derapi.api.{package.name}.{module.name}")
    for package in pkgutil.iter_modules(derapi.api.__path__)
    for module in pkgutil.iter_modules(importlib.import_module(f"derapi.api.{package.name}").__path__)
}


def shown(model: Any) -> Any:
    return json.loads(json.dumps(model.to_dict(), default=str))


def credentials(caller: Caller) -> dict[str, Any]:
    kinds = (EnphaseDeveloperAppCredentials, EnphasePartnerAppCredentials)
    made = [
        caller.act(
            "create_vendor_credentials",
            variant,
            body=CreateVendorCredentialsRequest(name=variant, credentials=kind(**APP)),
        )
        for variant, kind in zip(("sync", "asyncio"), kinds, strict=True)
    ]
    raw = OPERATIONS["get_vendor_credentials"].sync_detailed(made[0].id, client=caller.client, include_secrets=True)
    caller.read("get_vendor_credentials", made[0].id)
    renamed = UpdateVendorCredentialsRequest(name="renamed")
    changed = [
        caller.act("update_vendor_credentials", variant, made[0].id, body=renamed) for variant in ("sync", "asyncio")
    ]
    caller.read("list_vendor_credentials")
    listed = caller.every("list_vendor_credentials")
    gone = caller.act("delete_vendor_credentials", "sync_detailed", made[0].id)
    return {
        "made": [shown(one) for one in made],
        "raw": json.loads(raw.content),
        "changed": shown(changed[1]),
        "listed": sorted(one.name for one in listed),
        "deleted": int(gone.status_code),
        "kinds": sorted(type(one.credentials).__name__ for one in listed),
    }


def home(caller: Caller) -> dict[str, Any]:
    """The one site a compatible client is told of, its devices and their intervals."""
    for operation in ("list_sites", "list_solar_inverters", "list_batteries"):
        caller.read(operation)
    (site,), (inverter,), (battery,) = (
        caller.every(operation) for operation in ("list_sites", "list_solar_inverters", "list_batteries")
    )
    return {
        "site": shown(caller.read("get_site", site.id)),
        "inverter": shown(caller.read("get_solar_inverter", inverter.id)),
        "battery": shown(caller.read("get_battery", battery.id)),
        "hours": [
            len(caller.read(operation, subject, **DAY).intervals)
            for operation, subject in (
                ("get_site_solar_inverter_intervals", site.id),
                ("get_site_battery_intervals", site.id),
                ("get_solar_inverter_intervals", inverter.id),
                ("get_battery_intervals", battery.id),
            )
        ],
        "quarters": quarters(caller, site.id),
        "control": control(caller, site.id),
    }


def quarters(caller: Caller, site_id: str) -> int:
    """The quarter hours of the day over all pages."""
    found, token = 0, UNSET
    while True:
        page = OPERATIONS["get_site_solar_inverter_intervals"].sync(
            site_id, client=caller.client, summary_level=SummaryLevel("15mins"), page_size=20, page_token=token, **DAY
        )
        found += len(page.intervals)
        if isinstance(page.next_page_token, Unset):
            return found
        token = page.next_page_token


def control(caller: Caller, site_id: str) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    interval = PutSiteBatteryControlRequestInterval(
        command=SiteBatteryControlCommand.CHARGE, start=now, end=now + timedelta(hours=1)
    )
    body = PutSiteBatteryControlRequest(intervals=[interval])
    return caller.refused("get_site_battery_control", site_id) + caller.refused(
        "put_site_battery_control", site_id, body=body
    )


def join(caller: Caller) -> list[dict[str, Any]]:
    vendor = SMAJoinConfig(vendor="sma", credentials=StoredCredentialsReference(credentials_id="cred-aaaaaaaaaaaaaaaa"))
    body = CreateJoinSessionRequest(store_credentials=True, vendors=[vendor])
    return caller.refused("create_join_session", body=body) + caller.refused("get_join_session_token", "sess-1")


def virtual(caller: Caller) -> dict[str, Any]:
    """As the client's own tests use virtual mode, and the rest of it."""
    sites, batteries, inverters = [], [], []
    for variant in ("sync", "asyncio"):
        sites.append(caller.act("create_virtual_site", variant, body=CreateVirtualSiteRequest(name="My test site")))
        batteries.append(
            caller.act(
                "create_virtual_battery",
                variant,
                body=CreateVirtualBatteryRequest(name="My test battery", mode=BatteryMode.SAVINGS),
            )
        )
        inverters.append(
            caller.act(
                "create_virtual_solar_inverter",
                variant,
                body=CreateVirtualSolarInverterRequest(name="My test inverter"),
            )
        )
    now = datetime.now(UTC)
    yesterday = {"start": now - timedelta(hours=25), "end": now - timedelta(hours=1)}
    seen: dict[str, Any] = {
        "names": [
            caller.read("get_site", sites[0].id).name,
            caller.read("get_battery", batteries[0].id).name,
            caller.read("get_solar_inverter", inverters[0].id).name,
            caller.read("get_virtual_site", sites[0].id).name,
            caller.read("get_virtual_battery", batteries[0].id).name,
            caller.read("get_virtual_solar_inverter", inverters[0].id).name,
        ],
        "intervals": [
            len(caller.read("get_battery_intervals", batteries[0].id, **yesterday).intervals),
            len(caller.read("get_solar_inverter_intervals", inverters[0].id, **yesterday).intervals),
        ],
        "zoned": caller.read("get_battery_intervals", batteries[0].id, **yesterday).intervals[0].start.tzinfo
        is not None,
        "unset": shown(caller.act("create_virtual_site", "sync", body=CreateVirtualSiteRequest())),
        "listed": {},
    }
    for kind in ("sites", "batteries", "solar_inverters"):
        caller.read(f"list_virtual_{kind}")
        ids = [one.id for one in caller.every(f"list_virtual_{kind}")]
        seen["listed"][kind] = [len(ids), {one.id for one in caller.every(f"list_{kind}")} == set(ids)]
    for operation, made in (
        ("delete_virtual_battery", batteries),
        ("delete_virtual_solar_inverter", inverters),
        ("delete_virtual_site", sites),
    ):
        answers = [
            caller.act(operation, variant, one.id)
            for variant, one in zip(("sync_detailed", "asyncio_detailed"), made, strict=True)
        ]
        seen[operation] = [int(answer.status_code) for answer in answers]
    return seen


def vocabulary(types: list[list[str]]) -> dict[str, Any]:
    """What the client makes of the types of credentials that installed vendors say it knows."""
    entries = [{"id": "cred-1", "name": "x", "credentials": {"vendor": vendor, "type": kind}} for vendor, kind in types]
    parsed = ListVendorCredentialsResponse.from_dict({"vendorCredentials": entries}).vendor_credentials
    return {
        "vendors": sorted(str(vendor) for vendor in Vendor),
        "types": [[one.credentials.vendor, one.credentials.type] for one in parsed],
    }


def main() -> None:
    origin, real_token, virtual_token, types = sys.argv[1:]
    called: dict[str, list[str]] = {}
    real, unreal = Caller(origin, real_token, called), Caller(origin, virtual_token, called)
    seen = {
        "home": home(real),
        "credentials": credentials(real),
        "join": join(real),
        "virtual": virtual(unreal),
        "vocabulary": vocabulary(json.loads(types)),
        "operations": sorted(OPERATIONS),
        "called": called,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
