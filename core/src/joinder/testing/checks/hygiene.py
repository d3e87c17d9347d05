"""What a plugin must never do, looked for while it does everything it can."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from joinder.errors import VendorError
from joinder.grants import Grant
from joinder.testing.checks import check
from joinder.testing.flow import Seen, last_day, whole_flow
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.vendor import Flow


@check()
async def only_declared_hosts(subject: Subject) -> None:
    """Everything goes through ctx.http or ctx.device: no socket is opened but to the simulator."""
    async with standing(subject) as stand:
        port = int(stand.origin.rpartition(":")[2])
        with _sockets() as opened:
            await whole_flow(stand)
    elsewhere = [address for address in opened if tuple(address[:2]) != ("127.0.0.1", port)]
    if elsewhere:
        raise Failed(f"{len(elsewhere)} connections were made elsewhere than through ctx")


@check()
async def no_secret_is_told(subject: Subject) -> None:
    """No secret of app, owner or grant is in a log at DEBUG, an error's text, or the repr of anything."""
    async with standing(subject) as stand:
        seen = await whole_flow(stand)
        errors = await _errors(stand, seen)
        said = {
            "a log": "\n".join(stand.told),
            "an error": "\n".join(f"{error!r} {error} {getattr(error, 'detail', '')}" for error in errors),
            "a repr": repr((seen, stand.vendor, stand.context())),
        }
        secrets = dict(_secrets(stand, seen))
    found = [
        f"{name} in {where}" for where, text in said.items() for name, value in secrets.items() if _in(value, text)
    ]
    if found:
        raise Failed(f"told: {', '.join(sorted(set(found)))}")


@check()
async def grant_is_left_alone(subject: Subject) -> None:
    """Hooks answer new grants and sites; what they are given stays as it was."""
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        before = _copy(grant)
        name, registry = stand.vendor.name, stand.registry
        site = await registry.fetch_site(name, stand.context(), grant, grant.site_ids[0])
        await registry.fetch_readings(name, stand.context(), grant, last_day(stand, site))
        if stand.vendor.oauth2 is not None and "refresh_token" in grant.secrets:
            await registry.refresh(name, stand.context(), grant)
        if _copy(grant) != before:
            raise Failed("a hook changed the grant it was given")


def _copy(grant: Grant) -> tuple[object, ...]:
    return (
        dict(grant.secrets),
        dict(grant.facts),
        grant.expires_at,
        grant.refresh_expires_at,
        grant.site_ids,
        grant.state,
    )


async def _errors(stand: Stand, seen: Seen) -> list[VendorError]:
    """Errors of every kind the plugin can be made to raise."""
    found: list[VendorError] = []
    name, registry, grant = stand.vendor.name, stand.registry, seen.grants[-1]
    leaky = "\n".join(value for _, value in _secrets(stand, seen))
    faults: tuple[dict[str, Any], ...] = (
        {"fault": "5xx"},
        {"fault": "lost"},
        {"fault": "answer", "status": 400, "body": leaky},
        {"fault": "answer", "status": 401, "body": leaky},
        {"fault": "answer", "status": 403, "body": f'{{"error": {leaky!r}}}'},
        {"fault": "answer", "status": 200, "body": f'{{"data": "{quote(leaky)}"}}'},
    )
    for fault in faults:
        await stand.heal()
        await stand.fault(**fault)
        for call in (
            lambda: registry.fetch_site(name, stand.context(), grant, seen.site.vendor_id),
            lambda: registry.fetch_readings(name, stand.context(), grant, seen.quarters_of),
            lambda: registry.handle_callback(name, stand.context(), seen.callback),
        ):
            try:
                await call()
            except VendorError as error:
                found.append(error)
    return found


def _secrets(stand: Stand, seen: Seen) -> Iterator[tuple[str, str]]:
    """Secret values by name; short ones could stand anywhere by chance."""
    kind, app = stand.credential_type(), stand.app()
    secret_fields = [entry.name for entry in kind.fields if entry.secret] if kind else []
    entered = [entry.name for entry in stand.vendor.consent_fields if entry.secret]
    callback = ["code"] if stand.flow is Flow.REDIRECT else entered
    parts: tuple[tuple[str, Mapping[str, str]], ...] = (
        ("app", {name: app.secrets.get(name, "") for name in secret_fields} if app else {}),
        ("callback", {name: seen.callback.values.get(name, "") for name in callback}),
        *(("grant", grant.secrets) for grant in seen.grants),
        ("verifier", {"code_verifier": seen.callback.code_verifier or ""}),
    )
    for owner, values in parts:
        yield from ((f"{owner} {name}", value) for name, value in values.items() if len(value) >= 8)


def _in(value: str, text: str) -> bool:
    return value in text or quote(value, safe="") in text


@contextmanager
def _sockets() -> Iterator[list[Any]]:
    """Addresses that sockets of this process connect to while the block runs."""
    opened: list[Any] = []
    doors = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}

    def noting(door: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: socket.socket, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                opened.append(arguments[-1])
            return door(self, *arguments)

        return noted

    for name, door in doors.items():
        setattr(socket.socket, name, noting(door))
    try:
        yield opened
    finally:
        for name, door in doors.items():
            setattr(socket.socket, name, door)
