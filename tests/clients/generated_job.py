"""Run by test_generated.py, with BASE_URL CLIENT_ID CLIENT_SECRET, beside a client that was just generated."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import httpx
from joinder_generated import AuthenticatedClient
from joinder_generated.api.sites import get_site, get_site_solar_intervals, list_sites
from joinder_generated.api.virtual_mode import create_virtual_battery, create_virtual_solar_inverter
from joinder_generated.models import NewVirtualBattery, NewVirtualSolarInverter


def main() -> None:
    base, *app = sys.argv[1:]
    answer = httpx.post(f"{base}/oauth2/token", data={"grant_type": "client_credentials"}, auth=tuple(app))
    client = AuthenticatedClient(base_url=base, token=answer.json()["access_token"], raise_on_unexpected_status=True)
    inverter = create_virtual_solar_inverter.sync(client=client, body=NewVirtualSolarInverter(name="On the roof"))
    create_virtual_battery.sync(client=client, body=NewVirtualBattery(site_id=inverter.site_id, nameplate_kwh=10.0))
    now = datetime.now(UTC)
    ids = [one.id for one in list_sites.sync(client=client).sites]
    hours = get_site_solar_intervals.sync(
        ids[0],
        client=client,
        start=(now - timedelta(days=2)).isoformat(),
        end=(now - timedelta(days=1)).isoformat(),
    )
    site = get_site.sync(ids[0], client=client)
    shown = {"sites": ids, "batteries": len(site.batteries), "hours": [hour.kwh for hour in hours.intervals]}
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
