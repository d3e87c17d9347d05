"""Makes a virtual home and says what it gave yesterday. Needs JOINDER, CLIENT_ID and CLIENT_SECRET."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx


def connected() -> httpx.Client:
    """Returns a client with an access token, which lasts an hour."""
    base = os.environ["JOINDER"]
    app = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
    answer = httpx.post(f"{base}/oauth2/token", data={"grant_type": "client_credentials"}, auth=app)
    token = answer.raise_for_status().json()["access_token"]
    return httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=30)


def every(api: httpx.Client, path: str, member: str, **query: str) -> list[dict[str, Any]]:
    """Returns a list to its last page."""
    found: list[dict[str, Any]] = []
    while True:
        page = api.get(path, params=query).raise_for_status().json()
        found += page[member]
        if "nextPageToken" not in page:
            return found
        query["pageToken"] = page["nextPageToken"]


def main() -> None:
    with connected() as api:
        inverter = api.post("/virtual/solar-inverters", json={"name": "On the roof"}).raise_for_status().json()
        battery = {"siteID": inverter["siteID"], "nameplateKwh": 10}
        api.post("/virtual/batteries", json=battery).raise_for_status()
        now = datetime.now(UTC)
        span = {"start": (now - timedelta(days=2)).isoformat(), "end": (now - timedelta(days=1)).isoformat()}
        for site in every(api, "/sites", "sites"):
            path = f"/sites/{site['id']}/solar-intervals"
            hours = every(api, path, "intervals", summaryLevel="hour", pageSize="20", **span)
            print(f"site {site['id']}: {sum(hour['kwh'] for hour in hours):.2f} kWh in {len(hours)} hours")


if __name__ == "__main__":
    main()
