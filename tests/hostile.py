"""Names as a vendor, an owner or a tenant might give them, in every place of a store that holds what others named."""

from __future__ import annotations

from typing import Any

from sqlmodel import SQLModel, select

from joinder.clean import clean_text
from joinder.runtime.hub import Hub
from joinder.store.tables import (
    Account,
    ApiClient,
    Audit,
    Backfill,
    Delivery,
    DeviceRow,
    Enrollment,
    Event,
    JoinFlow,
    JoinSession,
    Program,
    SiteRow,
    VendorCredentials,
    WebhookEndpoint,
)

HOSTILE = {
    "a stray close": "Roof [/] south [/]",
    "markup": "[bold [red]x[/] [@click=app.quit]q [link=https://evil.example]l[/link] [on red]y :smile: [$error]z \\[",
    "orders": "\x1b]0;pwned\x07\x9b31mC1\x9d0;x\x9c\x1b]52;c;cHduZWQ=\x07\x1b[2J\x1bPq\x1b\\\x00\x7f\x08",
    "line ends": "one\r\nFAKE line\nFAKE\x85FAKE\u2028FAKE\u2029FAKE\x0bFAKE\x0cFAKE\tx",
    "unseen": "\u202egnp.exe\u2066a\u2069\u200bb\ufeffc\u00ad\u200d\u2060\u3164\U000e0041",
    "very long": "long [/] \x1b[31m" * 800,
}
SURROGATE = "\ud800x"  # no column of text takes one, JSON does
PLAIN: dict[type[SQLModel], tuple[str, ...]] = {
    Account: ("name",),
    ApiClient: ("name",),
    VendorCredentials: ("name",),
    JoinSession: ("client_state",),
    Enrollment: ("vendor_account_id", "health_reason", "status_reason"),
    Program: ("name",),
    SiteRow: ("name", "vendor_id"),
    DeviceRow: ("vendor_id",),
    Backfill: ("reason",),
    WebhookEndpoint: ("disabled_reason",),
    Delivery: ("reason",),
    Audit: ("actor", "action", "target", "reason"),
}


async def fill(hub: Hub, name: str) -> None:
    """Past every check that would refuse it; PostgreSQL takes no NUL."""
    if hub.store.place.startswith("postgresql"):
        name = name.replace("\x00", "")
    async with hub.store.write() as session:
        for table, columns in PLAIN.items():
            for number, row in enumerate((await session.scalars(select(table))).all()):
                for column in columns:
                    setattr(row, column, f"{name}{number}" if column == "vendor_id" else name)
                session.add(row)
        for site in (await session.scalars(select(SiteRow))).all():
            site.fetched_at = site.fetched_at or 1  # unread sites are not listed
        for row in (await session.scalars(select(DeviceRow))).all():
            row.state = {**row.state, **dict.fromkeys(("serial", "model", "name"), name), "faults": [name, name]}
            session.add(row)
        for event in (await session.scalars(select(Event))).all():
            data: dict[str, Any] = {"reason": name, "from": name + SURROGATE, "to": name, name: name}
            event.data = {**event.data, **data}
            session.add(event)
        for flow in (await session.scalars(select(JoinFlow))).all():
            flow.vendors = [{**entry, "options": {"region": name}} for entry in flow.vendors]
            flow.redirect_uri = f"https://a.example/{name}"
            session.add(flow)
        for hook in (await session.scalars(select(WebhookEndpoint))).all():
            hook.url = f"https://hook.example/{name}"
            hook.disabled_at = hook.created_at
            session.add(hook)
        for enrollment in (await session.scalars(select(Enrollment))).all():
            enrollment.health, enrollment.options = "degraded", {"region": name}
            session.add(enrollment)


def unseen(text: str) -> set[str]:
    """What in a text steers or misleads who sees it; line ends are none."""
    return {repr(letter) for letter in text if clean_text(letter) != letter or letter == "\t"}
