"""Run by test_upstream_client.py with the Python of a virtual environment that holds `derapi`: BASE_URL TOKEN.

Uses the client as its users do, every answer parsed by its own models; prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from derapi import AuthenticatedClient
from derapi.api.batteries import get_battery, get_battery_intervals, list_batteries
from derapi.api.sites import (
    get_site,
    get_site_battery_intervals,
    get_site_solar_inverter_intervals,
    list_sites,
)
from derapi.api.solar_inverters import get_solar_inverter, get_solar_inverter_intervals, list_solar_inverters
from derapi.api.vendor_credentials import (
    create_vendor_credentials,
    delete_vendor_credentials,
    get_vendor_credentials,
    list_vendor_credentials,
    update_vendor_credentials,
)
from derapi.models.create_vendor_credentials_request import CreateVendorCredentialsRequest
from derapi.models.enphase_developer_app_credentials import EnphaseDeveloperAppCredentials
from derapi.models.enphase_partner_app_credentials import EnphasePartnerAppCredentials
from derapi.models.summary_level import SummaryLevel
from derapi.models.update_vendor_credentials_request import UpdateVendorCredentialsRequest
from derapi.types import UNSET, Unset

APP = {"client_id": "app-1", "client_secret": "upstream-secret", "api_key": "upstream-key"}
DAY = {"start": datetime.fromisoformat("2026-06-01T00:00:00+02:00"),
       "end": datetime.fromisoformat("2026-06-02T00:00:00+02:00")}  # fmt: skip


def shown(model: Any) -> Any:
    return json.loads(json.dumps(model.to_dict(), default=str))


def credentials(client: AuthenticatedClient) -> dict[str, Any]:
    new = CreateVendorCredentialsRequest(credentials=EnphaseDeveloperAppCredentials(**APP))
    made = create_vendor_credentials.sync(client=client, body=new)
    raw = get_vendor_credentials.sync_detailed(made.id, client=client, include_secrets=True)
    changed = update_vendor_credentials.sync(
        made.id, client=client, body=UpdateVendorCredentialsRequest(name="renamed")
    )
    listed = [entry.id for entry in list_vendor_credentials.sync_depaginated(client=client, page_size=1)]
    gone = delete_vendor_credentials.sync_detailed(made.id, client=client)
    return {
        "made": shown(made),
        "raw": json.loads(raw.content),
        "changed": shown(changed),
        "listed": listed,
        "deleted": int(gone.status_code),
    }


def lists(client: AuthenticatedClient) -> dict[str, Any]:
    return {
        "sites": shown(list_sites.sync(client=client)),
        "solarInverters": shown(list_solar_inverters.sync(client=client)),
        "batteries": shown(list_batteries.sync(client=client)),
    }


def pages_of(operation: Any, subject: str, client: AuthenticatedClient) -> int:
    """The quarter hours of the day over all pages."""
    found, token = 0, UNSET
    while True:
        page = operation.sync(
            subject, client=client, summary_level=SummaryLevel("15mins"), page_size=20, page_token=token, **DAY
        )
        found += len(page.intervals)
        if isinstance(page.next_page_token, Unset):
            return found
        token = page.next_page_token


def home(client: AuthenticatedClient) -> dict[str, Any]:
    """The first site, its devices and their intervals."""
    create_vendor_credentials.sync(
        client=client, body=CreateVendorCredentialsRequest(credentials=EnphasePartnerAppCredentials(**APP))
    )
    (reference,) = list_sites.sync_depaginated(client=client)
    site = get_site.sync(reference.id, client=client)
    (inverter,) = list_solar_inverters.sync_depaginated(client=client)
    (battery,) = list_batteries.sync_depaginated(client=client)
    return {
        "site": shown(site),
        "inverter": shown(get_solar_inverter.sync(inverter.id, client=client)),
        "battery": shown(get_battery.sync(battery.id, client=client)),
        "solar": shown(get_site_solar_inverter_intervals.sync(reference.id, client=client, **DAY)),
        "charge": shown(get_site_battery_intervals.sync(reference.id, client=client, **DAY)),
        "quarters": [
            pages_of(operation, subject, client)
            for operation, subject in (
                (get_site_solar_inverter_intervals, reference.id),
                (get_site_battery_intervals, reference.id),
                (get_solar_inverter_intervals, inverter.id),
                (get_battery_intervals, battery.id),
            )
        ],
    }


def main() -> None:
    client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
    seen = {"empty": lists(client), "credentials": credentials(client), "home": home(client), "full": lists(client)}
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
