"""What a vendor asks of its operator and of owners, for `joinder vendors`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from joinder.clean import clean_line
from joinder.commands.running import echo
from joinder.commands.tables import table, width_of_output

if TYPE_CHECKING:
    from joinder.vendor import AppCredentialType, Field, Vendor


def as_answer(vendor: Vendor, public_url: str) -> dict[str, Any]:
    """Returns it as the REST API's `GET /vendors` does."""
    from msgspec import to_builtins

    from joinder.wire.vendors import CredentialTypeInfo, FieldInfo

    types = [
        CredentialTypeInfo(
            type=kind.type, label=kind.label, flow=str(kind.flow), fields=[*map(FieldInfo.of, kind.fields)]
        )
        for kind in vendor.app_credentials
    ]
    return {
        "callbackURL": _callback(vendor, public_url),
        "docsURL": vendor.docs_url,
        "credentialTypes": to_builtins(types),
        "consentFields": to_builtins([*map(FieldInfo.of, vendor.consent_fields)]),
        "flowFields": to_builtins([*map(FieldInfo.of, vendor.flow_fields)]),
    }


def print_asked(vendor: Vendor, public_url: str) -> None:
    """Prints it for a person, with the command that stores it."""
    echo(clean_line(f"{vendor.name}: {vendor.label}, {vendor.docs_url}"))
    if callback := _callback(vendor, public_url):
        echo(f"Register there as redirect URI:  {callback}")
    echo(_pace(vendor))
    for kind in vendor.app_credentials:
        _print_fields(f"App credentials of type {kind.type} ({kind.label})", kind.fields)
        echo(f"  app.json:  {_example(kind)}")
        echo(f"  joinder credentials create {vendor.name} {kind.type} --from app.json")
    _print_fields("An owner enters", vendor.consent_fields)
    _print_fields(f"A join flow takes (--option {vendor.name}.FIELD=VALUE)", vendor.flow_fields)
    refers = ":cred-…" if vendor.app_credentials else ""
    echo("")
    echo(f"Then:  joinder flows create --vendor {vendor.name}{refers} --redirect-uri https://your.app.example/back")


def _pace(vendor: Vendor) -> str:
    """Says how often a site is read, and what calls the smallest plan of the vendor allows."""
    limits = vendor.limits
    calls = {"minute": limits.calls_per_minute, "day": limits.calls_per_day, "month": limits.calls_per_month}
    allowed = ", ".join(f"{count} a {span}" for span, count in calls.items() if count is not None)
    every = int(limits.poll_every.total_seconds()) // 60
    return f"Reads a site every {every} minutes; calls: {allowed or 'no limit declared'} (call_limits, if yours differ)"


def _print_fields(title: str, fields: tuple[Field, ...]) -> None:
    if not fields:
        return
    echo("")
    echo(clean_line(f"{title}:"))
    rows = [
        {"field": entry.name, "": _kind(entry), "what it is": f"{entry.label}. {entry.help or ''}".strip()}
        for entry in fields
    ]
    width = width_of_output()
    for line in table([{name: clean_line(cell) for name, cell in row.items()} for row in rows], width and width - 2):
        echo(f"  {line}")


def _kind(entry: Field) -> str:
    return ", ".join(word for word, is_so in (("secret", entry.secret), ("optional", not entry.required)) if is_so)


def _example(kind: AppCredentialType) -> str:
    return json.dumps({entry.name: entry.example or "…" for entry in kind.fields if entry.required}, ensure_ascii=False)


def _callback(vendor: Vendor, public_url: str) -> str | None:
    from joinder.services.join.redirects import callback_at
    from joinder.vendor import Flow

    return callback_at(public_url, vendor.name) if vendor.flow is Flow.REDIRECT else None
