"""The examples of the OpenAPI document, recorded: every operation is asked once, in a world that is always the same.

    make examples     # after a change of the API, and after a new operation has its line here

What differs from run to run (ids, tokens, signatures) is replaced in the order it comes; the clock stands still.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from msgspec import structs

import joinder.api
from api.fakes import HOME, SUNNY, FakeVendor, Tenant, Vendors
from api.test_owner_pages import link_in
from api.test_reads import QUARTER, Clock, home_series
from joinder import virtual
from joinder.energy import Live, Reading, Readings, ReadingsQuery
from joinder.grants import Callback, Consent, Context, Grant
from joinder.hookspecs import hookimpl
from joinder.runtime.hub import Hub
from joinder.services.readings import poll
from joinder.vendor import OAuth2
from joinder.vendors.registry import Registry

FILE = Path(joinder.api.__file__).parent / "examples.json"
AT = int(datetime(2026, 6, 2, 12, tzinfo=UTC).timestamp())
DAY = {"start": "2026-06-01T10:00:00+02:00", "end": "2026-06-01T12:00:00+02:00", "summaryLevel": "hour"}
BACK = "https://app.example/connected"
HOOK = "https://app.example/hooks/joinder"
Examples = dict[str, dict[str, Any]]

ACME = structs.replace(
    SUNNY,
    name="acme",
    label="Acme Solar",
    docs_url="https://acme.example/docs",
    hosts=("acme.example",),
    flow_fields=(),
    served_files=(),
    oauth2=OAuth2(authorize_url="https://acme.example/authorize", token_url="https://acme.example/token", pkce=True),
)


class Acme(FakeVendor):
    """The vendor of the examples: its tokens end on a fixed day."""

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        consent = await super().handle_callback(ctx, callback)
        return replace(consent, grant=_until_july(consent.grant))

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        return _until_july(await super().refresh(ctx, grant))


def _until_july(grant: Grant) -> Grant:
    return replace(grant, expires_at=datetime(2026, 7, 1, 12, tzinfo=UTC))


class World(Vendors):
    def __init__(self) -> None:
        super().__init__(sunny=Acme(ACME))
        names = {"inv-1": "Roof", "bat-1": "Cellar", "met-1": "Grid", "car-1": "Carport"}
        devices = tuple(structs.replace(one, name=names[one.vendor_id]) for one in HOME.devices)
        self.sunny.homes = {"site-1": structs.replace(HOME, name="Miller", devices=devices)}
        self.sunny.readings = _readings

    def registry(self) -> Registry:
        registry = Registry()
        registry.add("acme", self.sunny)
        registry.add(virtual.NAME, virtual)
        return registry


def _readings(query: ReadingsQuery) -> Readings:
    power = Live(measured_at=datetime.fromtimestamp(AT, UTC), solar_w=3200.0, battery_w=-1200.0, grid_w=-1500.0,
                 load_w=500.0, soc_percent=55.0)  # fmt: skip
    return Readings(intervals=tuple(_energy(query)), live=power if query.live else None)


def _energy(query: ReadingsQuery) -> Iterator[Reading]:
    """The same sunny quarter hour, again and again; of days and of quarter hours."""
    if query.start >= query.end:
        return
    for row in home_series(query).intervals:
        count = (row.end - row.start) // QUARTER
        wh = {"solar_wh": 400.0, "charge_wh": 120.0, "discharge_wh": 0.0, "import_wh": 0.0, "export_wh": 180.0,
              "load_wh": 100.0, "charger_wh": 60.0}  # fmt: skip
        values = {name: value * count for name, value in wh.items()}
        yield Reading(start=row.start, end=row.end, soc_percent=50.0, **values)


class Recorder:
    """Asks, and notes what was asked and answered by the operation's id."""

    def __init__(self, api: httpx.AsyncClient, document: dict[str, Any]) -> None:
        self.api, self.examples = api, Examples()
        self._operations = {
            (method, path): item["operationId"]
            for path, items in document["paths"].items()
            for method, item in items.items()
        }
        self._known: dict[str, str] = {}

    async def ask(
        self, method: str, template: str, *ids: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """Fills the template's ids in; answers the body."""
        names = re.findall(r"{(\w+)}", template)
        path = template
        for name, value in zip(names, ids, strict=True):
            path = path.replace(f"{{{name}}}", value)
        answer = await self.api.request(method, path, params=query, json=body)
        assert answer.status_code < 400, (method, path, answer.text)
        self.note(method, template, answer, dict(zip(names, ids, strict=True)), query, body)
        return answer.json() if answer.content else None

    def note(self, method: str, template: str, answer: httpx.Response, ids: Any, query: Any, body: Any) -> None:
        asked = {"path": ids, "query": query, "body": body}
        request = {name: value for name, value in asked.items() if value}
        told = {"status": answer.status_code, **({"body": answer.json()} if answer.content else {})}
        operation_id = self._operations[method.lower(), template]
        self.examples[operation_id] = json.loads(self.same(json.dumps({"request": request, "answer": told})))

    def same(self, text: str) -> str:
        """Replaces what is random, the same by the same."""
        text = re.sub(r"\b([a-z]{4})-[a-z2-7]{16}\b", lambda found: self._id(found[0], found[1]), text)
        text = re.sub(
            r"whsec_[A-Za-z0-9+/=]+", "whsec_" + base64.b64encode(b"an example of a secret, 32 bytes").decode(), text
        )
        text = re.sub(r"link=[\w.%-]+", "link=WyJlbnJsLeKApiJd.c2lnbmF0dXJl", text)
        text = re.sub(r'"(eyJ[\w.-]+)"', '"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjbG50In0.c2lnbmF0dXJl"', text)
        text = re.sub(r'"[0-9A-Fa-f]{24}"', '"5F1C0DE5F1C0DE5F1C0DE5F1"', text)
        text = re.sub(r'("lifetimeProduction": {"kwh": )[\d.]+', r"\g<1>15010.5", text)
        text = re.sub(r'"expires_at": [\d.]+', '"expires_at": 1780405200.0', text)
        text = re.sub(r'("accessToken": "[^"]*", "expiresAt": )"[^"]*"', r'\1"2026-06-02T12:15:00Z"', text)
        text = re.sub(r'"iat": \d+, "exp": \d+', '"iat": 1780401600, "exp": 1780405200', text)
        text = re.sub(r'"(x|y|kid)": "[\w-]+"', r'"\1": "c2FtZQ"', text)
        text = re.sub(r'("distribution": )"[^"]*"', r'\1"joinder-acme"', text)
        return re.sub(r'("version": )"[^"]*"', r'\1"1.0.0"', text)

    def _id(self, found: str, tag: str) -> str:
        if found not in self._known:
            count = sum(one.startswith(tag) for one in self._known)
            digest = hashlib.sha256(f"{tag} {count}".encode()).digest()[:10]
            self._known[found] = f"{tag}-{base64.b32encode(digest).decode().lower()}"
        return self._known[found]


async def record(
    hub: Hub,
    tenant: Tenant,
    virtual_tenant: Tenant,
    browser: httpx.AsyncClient,
    clock: Clock,
    document: dict[str, Any],
) -> Examples:
    """Plays the whole life of an account, and returns what every operation was asked and answered."""
    clock.at = AT
    recorder = Recorder(tenant.api, document)
    await _tokens(recorder, tenant)
    credentials_id, flow_id = await _operator(recorder)
    enrollment_id = await _owner(recorder, browser, flow_id)
    await _enrollment(recorder, hub, enrollment_id)
    await _data(recorder, hub, enrollment_id)
    await _told(recorder)
    await _end(recorder, enrollment_id, flow_id, credentials_id)
    recorder.api = virtual_tenant.api
    await _programme(recorder)
    await _virtual(recorder)
    return dict(sorted(recorder.examples.items()))


async def _tokens(recorder: Recorder, tenant: Tenant) -> None:
    form = {"grant_type": "client_credentials", "scope": "read:sites"}
    auth = (tenant.client.client_id, tenant.client.client_secret)
    answer = await recorder.api.post("/oauth2/token", data=form, auth=auth)
    recorder.note("POST", "/oauth2/token", answer, {}, None, form)
    shown = {"token": answer.json()["access_token"]}
    for path in ("/oauth2/introspect", "/oauth2/revoke"):
        recorder.note("POST", path, await recorder.api.post(path, data=shown, auth=auth), {}, None, shown)
    for path in ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/health/live", "/health/ready"):
        await recorder.ask("GET", path)


async def _operator(recorder: Recorder) -> tuple[str, str]:
    await recorder.ask("GET", "/vendors")
    secrets = {"vendor": "acme", "type": "oauthclient", "clientID": "my-app", "clientSecret": "its-secret"}
    made = await recorder.ask("POST", "/vendor-credentials", body={"name": "Acme, main", "credentials": secrets})
    one = "/vendor-credentials/{credentials_id}"
    await recorder.ask("GET", "/vendor-credentials", query={"vendor": "acme"})
    await recorder.ask("GET", one, made["id"])
    await recorder.ask("PATCH", one, made["id"], body={"name": "Acme"})
    await recorder.ask("GET", f"{one}/quota", made["id"])
    await recorder.ask("GET", f"{one}/actions", made["id"])
    await recorder.ask("POST", f"{one}/actions/{{name}}", made["id"], "register", body={"domain": "hub.example"})
    vendors = [{"vendor": "acme", "credentialsID": made["id"]}]
    flow = await recorder.ask("POST", "/join/flows", body={"vendors": vendors, "redirectURI": BACK})
    await recorder.ask("GET", "/join/flows")
    await recorder.ask("GET", "/join/flows/{flow_id}", flow["id"])
    return made["id"], flow["id"]


async def _owner(recorder: Recorder, browser: httpx.AsyncClient, flow_id: str) -> str:
    labels = {"state": "random-8f2c", "reference": "customer-7"}
    intro = await browser.get(f"/join/flows/{flow_id}/authorize", params=labels)
    out = await browser.get(link_in(intro.text, "Go on to Acme Solar"))
    state = httpx.URL(out.headers["location"]).params["state"]
    back = await browser.get("/join/acme/auth-granted", params={"state": state, "code": "from-the-vendor"})
    landing = await browser.get(back.headers["location"])
    return str(httpx.URL(link_in(landing.text, "Go back to test")).params["enrollmentID"])


async def _enrollment(recorder: Recorder, hub: Hub, enrollment_id: str) -> None:
    await poll.poll(hub, enrollment_id)
    one = "/enrollments/{enrollment_id}"
    await recorder.ask("GET", "/enrollments", query={"reference": "customer-7"})
    await recorder.ask("GET", one, enrollment_id)
    await recorder.ask("PATCH", one, enrollment_id, body={"reference": "customer-8"})
    await recorder.ask("GET", f"{one}/tokens", enrollment_id)
    for act in ("refresh", "pause", "resume"):
        await recorder.ask("POST", f"{one}/{act}", enrollment_id)
    broken = ("UPDATE enrollment SET health = 'quarantined' WHERE id = :id", {"id": enrollment_id})
    await hub.store.apply(broken)
    await recorder.ask("POST", f"{one}/release", enrollment_id)
    await recorder.ask("POST", f"{one}/browser-keys", enrollment_id, body={"minutes": 5})
    await recorder.ask("POST", f"{one}/reconnect", enrollment_id, body={"redirectURI": BACK})
    await recorder.ask("POST", f"{one}/owner-link", enrollment_id)
    asked = {"start": "2026-01-01T00:00:00Z"}
    backfill = await recorder.ask("POST", f"{one}/backfill", enrollment_id, body=asked)
    await recorder.ask("GET", "/backfills", query={"status": "running"})
    await recorder.ask("GET", "/backfills/{backfill_id}", backfill["id"])
    await recorder.ask("DELETE", "/backfills/{backfill_id}", backfill["id"])


async def _data(recorder: Recorder, hub: Hub, enrollment_id: str) -> None:
    listed = await recorder.ask("GET", "/sites", query={"expand": "true", "enrollmentID": enrollment_id})
    (site,) = listed["sites"]
    one = "/sites/{site_id}"
    await recorder.ask("GET", one, site["id"])
    await recorder.ask("GET", f"{one}/live", site["id"])
    for kind in ("solar", "battery", "meter", "charger"):
        await recorder.ask("GET", f"{one}/{kind}-intervals", site["id"], query=DAY)
    await recorder.ask("GET", f"{one}/coverage", site["id"])
    fleet = {name: value for name, value in DAY.items() if name != "summaryLevel"}
    await recorder.ask("GET", "/aggregates/intervals", query={**fleet, "level": "hour", "timezone": "Europe/Berlin"})
    kinds = (("solar-inverters", "solarInverters"), *((name, name) for name in ("batteries", "meters", "chargers")))
    for path, member in kinds:
        await recorder.ask("GET", f"/{path}", query={"siteID": site["id"]})
        device = f"/{path}/{{device_id}}"
        await recorder.ask("GET", device, site[member][0]["id"])
        await recorder.ask("GET", f"{device}/intervals", site[member][0]["id"], query=DAY)


async def _told(recorder: Recorder) -> None:
    await recorder.ask("GET", "/events", query={"type": "enrollment.created"})
    made = await recorder.ask("POST", "/webhooks", body={"url": HOOK, "types": ["site.ready", "enrollment.health"]})
    one = "/webhooks/{webhook_id}"
    await recorder.ask("GET", "/webhooks")
    await recorder.ask("GET", one, made["id"])
    await recorder.ask("PATCH", one, made["id"], body={"types": None})
    await recorder.ask("POST", f"{one}/rotate", made["id"])
    delivery = await recorder.ask("POST", f"{one}/test", made["id"])
    await recorder.ask("GET", f"{one}/deliveries", made["id"], query={"status": "pending"})
    again = f"{one}/deliveries/{{delivery_id}}/replay"
    await recorder.ask("POST", again, made["id"], delivery["id"])
    await recorder.ask("POST", f"{one}/replay", made["id"], body={"since": "2026-06-01T00:00:00Z"})
    await recorder.ask("DELETE", one, made["id"])


async def _end(recorder: Recorder, enrollment_id: str, flow_id: str, credentials_id: str) -> None:
    await recorder.ask("DELETE", "/enrollments/{enrollment_id}", enrollment_id)
    await recorder.ask("DELETE", "/join/flows/{flow_id}", flow_id)
    await recorder.ask(
        "DELETE", "/vendor-credentials/{credentials_id}", credentials_id, query={"includeSecrets": "false"}
    )


async def _virtual(recorder: Recorder) -> None:
    site = await recorder.ask("POST", "/virtual/sites", body={"name": "A house"})
    ids = {"/virtual/sites/{site_id}": site["id"]}
    for kind, members in (
        ("solar-inverters", {"name": "Roof"}),
        ("batteries", {"nameplateKwh": 13.5, "stateOfChargePercent": 60}),
    ):
        made = await recorder.ask("POST", f"/virtual/{kind}", body={"siteID": site["id"], **members})
        ids[f"/virtual/{kind}/{{device_id}}"] = made["id"]
    for path, row_id in reversed(ids.items()):
        await recorder.ask("GET", path.rpartition("/")[0])
        await recorder.ask("GET", path, row_id)
        await recorder.ask("DELETE", path, row_id)


async def _programme(recorder: Recorder) -> None:
    members = {"name": "Peak hours", "vendors": ["virtual"], "end": "2027-06-01T00:00:00Z"}
    await recorder.ask("GET", "/programs")
    made = await recorder.ask("POST", "/programs", body=members)
    await recorder.ask("GET", "/programs/{program_id}", made["id"])
    customer = {
        "applicationTime": "2026-06-01T10:00:00Z",
        "utilityAccountNumber": "4711",
        "customer": {"name": "Ada Miller", "email": "ada@example.com"},
        "address": {"street": "1 Sun Road", "city": "Springfield", "postalCode": "12345"},
        "additionalInfo": {"meter": "A-1"},
    }
    applied = {**customer, "programID": made["id"]}
    await recorder.ask("POST", "/enrollments/submit", body=applied)
    enrollment = await recorder.ask("POST", "/virtual/enrollments", body=applied)
    again = {"type": "resubmitrequested", "reason": "The account number is another customer's."}
    await recorder.ask("POST", "/enrollments/{enrollment_id}/events", enrollment["id"], body=again)
    newer = {**customer, "applicationTime": "2026-06-02T10:00:00Z", "utilityAccountNumber": "4712"}
    await recorder.ask("POST", "/enrollments/{enrollment_id}/applications", enrollment["id"], body=newer)
    other = await recorder.api.post("/programs", json=members)
    await recorder.ask("DELETE", "/programs/{program_id}", other.json()["id"])
