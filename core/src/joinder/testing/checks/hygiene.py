"""What a plugin must never do, looked for while it does everything it can."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from urllib.parse import quote

from joinder.errors import VendorError
from joinder.grants import Grant
from joinder.testing.checks import check
from joinder.testing.flow import Seen, last_day, whole_flow
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.vendor import Flow

PART = 8  # characters of a secret that are too many


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
    """No eight characters of a secret are in a log, a print, an error, a fact, a warning, or the repr of anything."""
    async with standing(subject) as stand:
        with _heard() as printed:
            seen = await whole_flow(stand)
            errors = await _errors(stand, seen)
        said = {
            "a log": "\n".join(stand.told),
            "a print": printed.getvalue(),
            "an error": "\n".join(map(_all_of, errors)),
            "a repr": repr((seen, stand.vendor, stand.context())),
            "an account's id": seen.consent.account_id or "",
        }
        secrets = list(_secrets(stand, seen))
        public = _public(stand, seen)
    found = [
        f"{name} in {where}"
        for where, text in said.items()
        for name, value in secrets
        if is_part_told(value, text, public)
    ]
    if found:
        raise Failed(f"told: {', '.join(sorted(set(found)))}; say that something is wrong, never with what")


def _all_of(error: BaseException) -> str:
    """Its own texts, and those of what it came from."""
    detail = getattr(error, "detail", "")
    fields = getattr(error, "fields", "")
    parts = [f"{error!r} {error} {detail} {fields}"]
    return "\n".join([*parts, *(_all_of(one) for one in (error.__cause__, error.__context__) if one is not None)][:4])


def _public(stand: Stand, seen: Seen) -> str:
    """Collects what may be told, and may look like a part of a secret: names, addresses, ids and serials."""
    serials = [f"{device.vendor_id} {device.serial}" for device in seen.site.devices]
    return " ".join([repr(stand.vendor), *seen.consent.grant.site_ids, *serials])


def is_part_told(secret: str, text: str, public: str = "") -> bool:
    """Tells whether the text holds the secret, or eight characters of it that no ordinary word has."""
    if secret in text or quote(secret, safe="") in text:
        return True
    parts = {secret[at : at + PART] for at in range(len(secret) - PART + 1)}
    return any(part in text and part not in public for part in parts if _is_random(part))


def _is_random(part: str) -> bool:
    """Tells whether it is of both cases, or of letters and digits: words and numbers are told for other reasons."""
    kinds = (any(map(str.islower, part)), any(map(str.isupper, part)), any(map(str.isdigit, part)))
    return sum(kinds) >= 2 and part.isascii()


@contextmanager
def _heard() -> Iterator[io.StringIO]:
    """Collects what is printed, on either stream."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        yield printed


@check()
async def grant_is_left_alone(subject: Subject) -> None:
    """Hooks answer new grants and sites; what they are given stays as it was."""
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        before = _copy(grant)
        name, registry = stand.vendor.name, stand.registry
        site = await stand.site(grant, grant.site_ids[0])
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
