"""`joinder read-gateway`: one gateway, read once from a terminal. No server, no store; the hooks' own functions."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import rich_click as click

from joinder import DeviceKind, Readings
from joinder.errors import AuthorizationLost, DeviceUnreachable, VendorError, VendorTimeout
from joinder.settings import settings_from_env
from joinder_iq_gateway.api import Gateway, take_snapshot
from joinder_iq_gateway.info import TOO_OLD, Info, identify
from joinder_iq_gateway.mapping import readings
from joinder_iq_gateway.token import Claims, TokenRefused, check_token, tidy

if TYPE_CHECKING:
    from joinder.http import DeviceHttp


class Stopped(click.ClickException):
    """One sentence, then exit 1."""


class TokenStopped(Stopped):
    exit_code = 5


class Unreachable(Stopped):
    exit_code = 6


class Report(msgspec.Struct, kw_only=True):
    """What --json prints."""

    serial: str
    firmware: str
    part_number: str | None
    cert_sha256: str | None
    pinned: bool
    token_expires_at: datetime
    readings: Readings


@click.command("read-gateway")
@click.argument("host")
@click.option(
    "--token-file",
    required=True,
    type=click.File("r", errors="replace"),
    help="File with the owner's token; - reads stdin.",
)
@click.option("--pin", metavar="SHA256", help="Refuse any other certificate than the one with this fingerprint.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(host: str, token_file: TextIO, pin: str | None, as_json: bool) -> None:
    """Read one Enphase IQ Gateway in your network. HOST is an address or host:port.
    Example:  joinder read-gateway 192.168.1.50 --token-file token.txt

    Exits 5 when the token is refused, 6 when the gateway cannot be reached, 1 on any other failure.
    """
    name, port = split_host(host)
    token = tidy(token_file.read(16384))
    report = asyncio.run(_read(name, port, token, _plain_pin(pin)))
    click.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(lines_of(report)))
    if pin is None:
        click.echo(f"Its certificate was not checked. To pin it, add: --pin {report.cert_sha256}", err=True)


async def _read(host: str, port: int, token: str, pin: str | None) -> Report:
    from joinder.http import HttpFactory  # here, as --help needs no HTTP client

    try:
        claims = check_token(token, datetime.now(UTC))
        async with HttpFactory(reroute=settings_from_env().reroute).operator_device(host, port, pin_sha256=pin) as box:
            info = await _identified(box, host, port)
            if info.serial != claims.serial:
                raise TokenRefused("This token belongs to another gateway than the one that answered")
            return await _report(box, info, claims, token, pinned=pin is not None)
    except TokenRefused as reason:
        raise TokenStopped(str(reason)) from None
    except AuthorizationLost as error:
        raise TokenStopped(str(error)) from None
    except (DeviceUnreachable, VendorTimeout) as error:
        raise Unreachable(str(error)) from None
    except VendorError as error:
        raise Stopped(str(error)) from None


async def _identified(box: DeviceHttp, host: str, port: int) -> Info:
    try:
        info = await identify(box)
    except DeviceUnreachable:
        if await _answers_in_the_clear(host, 80 if port == 443 else port):
            raise Stopped(TOO_OLD) from None
        raise
    if info.too_old:
        raise Stopped(TOO_OLD)
    return info


async def _report(box: DeviceHttp, info: Info, claims: Claims, token: str, *, pinned: bool) -> Report:
    now = datetime.now(UTC)
    gateway = Gateway(box, token, expires_at=claims.expires_at, now=now)
    await gateway.open_session()
    snapshot = await take_snapshot(gateway, firmware=info.firmware, now=now, timezone=None)
    found = readings(snapshot, now=now, firmware=info.firmware, live=True)
    if gateway.failed and not (found.live or found.counters or found.devices):
        raise next(iter(gateway.failed.values()))
    return Report(
        serial=info.serial,
        firmware=info.firmware,
        part_number=info.part_number,
        cert_sha256=box.peer_sha256,
        pinned=pinned,
        token_expires_at=claims.expires_at,
        readings=found,
    )


async def _answers_in_the_clear(host: str, port: int) -> bool:
    """Tells whether a gateway of before tokens is there: those speak plain HTTP, which joinder.http never does."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /info HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                await reader.readuntil(b"<envoy_info")
                return True
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False


def split_host(text: str) -> tuple[str, int]:
    """Splits `192.168.1.50`, `192.168.1.50:8443`, `fe00::1` and `[fd00::1]:443` into host and port.

    Without a port it is 443. Raises Stopped for anything else.
    """
    try:
        return str(ipaddress.ip_address(text)), 443
    except ValueError:
        host, colon, port = text.rpartition(":")
    host, port = (host.strip("[]"), port) if colon else (text, "443")
    if not re.fullmatch(r"[\w.:-]+", host, re.ASCII) or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise Stopped("HOST must be an address or a name, with :port if it is not 443")
    return host, int(port)


def _plain_pin(pin: str | None) -> str | None:
    """Returns a fingerprint without colons, in lower case; openssl prints AA:BB:…. Raises Stopped for anything else."""
    if pin is None:
        return None
    plain = pin.replace(":", "").lower()
    if len(plain) != 64 or set(plain) - set("0123456789abcdef"):
        raise Stopped("--pin must be a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def lines_of(report: Report) -> list[str]:
    """Formats a short table: the gateway, the site, each device, warnings."""
    rows: list[tuple[str, str]] = [
        ("gateway", report.serial),
        ("firmware", report.firmware),
        ("fingerprint", f"{report.cert_sha256}{' (pinned)' if report.pinned else ''}"),
        *_site_rows(report.readings),
    ]
    for device in report.readings.devices:
        state = [f"{device.soc_percent:.0f} %"] if device.soc_percent is not None else []
        state += ["old report"] if device.stale else []
        kind = device.kind.value if device.kind is not DeviceKind.METER else f"meter {device.name or ''}".rstrip()
        rows.append((f"{kind} {device.vendor_id}", " · ".join([_amount(device.power_w, "W"), *state, *device.faults])))
    rows += [("warning", warning) for warning in report.readings.warnings]
    width = max(len(label) for label, _ in rows)
    return [f"{label:<{width}}  {value}" for label, value in rows]


def _site_rows(found: Readings) -> list[tuple[str, str]]:
    live = found.live
    total = next((counter for counter in found.counters if counter.device_id is None), None)
    figures: list[tuple[str, Any, str]] = [
        ("production", live and live.solar_w, "W"),
        ("consumption", live and live.load_w, "W"),
        ("net", live and live.grid_w, "W"),
        ("storage", live and live.battery_w, "W"),
        ("state of charge", live and live.soc_percent, "%"),
        ("lifetime production", total and total.solar_wh, "Wh"),
        ("lifetime consumption", total and total.load_wh, "Wh"),
        ("lifetime import", total and total.import_wh, "Wh"),
        ("lifetime export", total and total.export_wh, "Wh"),
        ("lifetime charge", total and total.charge_wh, "Wh"),
        ("lifetime discharge", total and total.discharge_wh, "Wh"),
    ]
    return [(label, _amount(value, unit)) for label, value, unit in figures]


def _amount(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{round(value):,} {unit}"
