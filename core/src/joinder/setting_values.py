"""What a setting may hold: read from the text of a variable, and looked at before anything starts.

A check answers the rest of a sentence that begins with the setting's name, or None.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement

from joinder.plugin_pins import Pin

SPANS = ("minute", "day", "month")
MOST_CALLS = 10**9
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_PINNED = "joinder-acme==1.2 sha256:… (joinder vendors pin)"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_CALLS = f"calls must be a whole number from 1 to {MOST_CALLS}"


def from_text(name: str, text: str) -> object:
    """Reads what a variable holds. Raises ValueError with the rest of a sentence."""
    return _READERS[name](text) if name in _READERS else text


def problem(name: str, value: Any) -> str | None:
    """Says why this value cannot work, if so."""
    return _CHECKS[name](value) if name in _CHECKS and value is not None else None


def unprintable(value: Any) -> str | None:
    """Says so where any text of the value holds what no name, address or path of a sane machine does."""
    if isinstance(value, str):
        return "holds a control character, such as a line break" if any(map(_is_control, value)) else None
    parts = [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return next(filter(None, map(unprintable, parts)), None)


def _is_control(letter: str) -> bool:
    return ord(letter) < 32 or ord(letter) == 127


def call_limits_text(limits: Mapping[str, Mapping[str, int]]) -> str:
    """Formats limits as JOINDER_CALL_LIMITS is written."""
    return ",".join(f"{vendor}:{span}={calls}" for vendor, spans in limits.items() for span, calls in spans.items())


def holds_password(database_url: str) -> bool:
    """Tells whether it may hold one; what cannot be told holds one."""
    try:
        parts = urlsplit(database_url)
        return parts.password is not None or "password" in parts.query.lower()
    except ValueError:
        return True


def as_browsers_write(origin: str) -> str:
    """Returns an origin in lower case, without a default port: what an Origin header is compared with."""
    parts = urlsplit(origin)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, default) else f":{parts.port}")


def is_host(text: str) -> bool:
    """Tells whether it can be the address, or the name, of a host. Names are as browsers send them: in ASCII."""
    try:
        ip_address(text)
    except ValueError:
        return len(text) <= 253 and all(map(_LABEL.fullmatch, text.removesuffix(".").split(".")))
    return True


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _requirements(text: str) -> tuple[str, ...]:
    """Splits distributions, with versions where one likes; a comma may stand between versions too."""
    parts: list[str] = []
    for part in _listed(text):
        if parts and part.startswith(("<", ">", "=", "!", "~")):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return tuple(parts)


def _stand_ins(text: str) -> dict[str, str]:
    try:
        return dict(part.split("=", 1) for part in _listed(text))
    except ValueError:
        raise ValueError("cannot be read: write vendor.host=http://127.0.0.1:port, with commas between") from None


def _call_limits(text: str) -> dict[str, dict[str, int]]:
    """Parses `vendor:span=calls` each. Whether there is such a vendor is known only when the plugins are loaded."""
    limits: dict[str, dict[str, int]] = {}
    for part in _listed(text):
        found = re.fullmatch(r"([^:=\s]+):([^:=\s]+)=([^:=\s]+)", part)
        if found is None:
            raise ValueError(f"cannot be read: write vendor:span=calls, as acme:minute=60, not {part}")
        vendor, span, calls = found.groups()
        if not re.fullmatch(r"[0-9]{1,10}", calls):
            raise ValueError(f"cannot be read: {part}: {_CALLS}")
        if span in limits.setdefault(vendor, {}):
            raise ValueError(f"cannot be read: {vendor}:{span} is there twice")
        limits[vendor][span] = int(calls)
    return limits


def _wrong_requirements(parts: Sequence[str]) -> str | None:
    for part in parts:
        try:
            wanted = Pin.of(part).requirement
        except InvalidRequirement:
            wanted = None
        if wanted is None or wanted.url or wanted.marker or wanted.extras:
            return f"must name distributions, as joinder-acme, joinder-acme>=1,<2 or {_PINNED}, not {part}"
    return None


def _wrong_networks(networks: Sequence[str]) -> str | None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            return f"must hold networks: {error}"
    return None


def _wrong_stand_ins(stand_ins: Mapping[str, str]) -> str | None:
    for host, origin in stand_ins.items():
        if not _is_authority(host):
            return f"cannot send {host or 'an empty word'} anywhere: a vendor's host comes first, as api.acme.example"
        parts = urlsplit(origin) if _is_origin(origin) else None
        if parts is None or parts.hostname != "127.0.0.1" or parts.port is None:
            return f"cannot send {host} there: it may only go to a simulator on 127.0.0.1, as http://127.0.0.1:8701"
    return None


def _wrong_limits(limits: Mapping[str, Mapping[str, int]]) -> str | None:
    for vendor, spans in limits.items():
        for span, calls in spans.items():
            if span not in SPANS:
                return f"is wrong for {vendor}: no span is named {span}; use {', '.join(SPANS)}"
            if not 1 <= calls <= MOST_CALLS:
                return f"is wrong for {vendor}: {_CALLS}"
    return None


def _wrong_origin(url: str) -> str | None:
    if _is_origin(url):
        return None
    return f"must be an https origin without a path (http only for 127.0.0.1){_in_ascii(url)}"


def _wrong_origins(origins: Sequence[str]) -> str | None:
    for origin in origins:
        if not _is_origin(origin) or origin.endswith("/"):
            return f"must hold https origins without a path (http only for 127.0.0.1), not {origin}"
    return None


def _in_ascii(url: str) -> str:
    """Says how browsers write a name that has other letters, which no origin of theirs equals as it stands."""
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        if not host.isascii():
            return f"; write its name as browsers send it, {host.encode('idna').decode()}"
    return ""


def _is_authority(text: str) -> bool:
    """Tells whether it is a host, with a port or without."""
    host, colon, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    return is_host(host) and (not colon or (re.fullmatch("[0-9]{1,5}", port) is not None and 1 <= int(port) <= 65535))


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if port == 0 or not is_host(parts.hostname or ""):
        return False
    loopback = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    bare = parts.netloc.lower() == f"{host}" + ("" if port is None else f":{port}")
    return (
        (parts.scheme == "https" or loopback) and bare and url[len(parts.scheme) + 3 + len(parts.netloc) :] in ("", "/")
    )


def _within(low: float, high: float, unit: str = "") -> Callable[[float], str | None]:
    return lambda value: None if low <= value <= high else f"must lie between {low} and {high}{unit}"


def _wrong_host(host: str) -> str | None:
    return None if is_host(host) else "must be an address of this machine, as 127.0.0.1, or 0.0.0.0 for all"


def _wrong_file(path: str) -> str | None:
    return None if path else "is empty: name a file"


def _wrong_deadline(seconds: float) -> str | None:
    """A hook itself ends after 90 s, and that must not come first."""
    return None if 0 < seconds <= 80 else "must lie between 0 and 80 seconds"


_READERS: Mapping[str, Callable[[str], object]] = {
    "plugins": _requirements,
    "allowed_networks": _listed,
    "trusted_proxies": _listed,
    "cors_origins": _listed,
    "password_grants": _listed,
    "reroute": _stand_ins,
    "call_limits": _call_limits,
}
_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "public_url": _wrong_origin,
    "plugins": _wrong_requirements,
    "allowed_networks": _wrong_networks,
    "trusted_proxies": _wrong_networks,
    "cors_origins": _wrong_origins,
    "reroute": _wrong_stand_ins,
    "call_limits": _wrong_limits,
    "key_file": _wrong_file,
    "host": _wrong_host,
    "metrics_host": _wrong_host,
    "port": _within(0, 65535),
    "requests_per_minute": _within(1, 1_000_000),
    "metrics_port": _within(1, 65535),
    "log_level": lambda level: (
        None if level.upper() in logging.getLevelNamesMapping() else "must be DEBUG, INFO, WARNING, ERROR or CRITICAL"
    ),
    "refresh_deadline_s": _wrong_deadline,
    "refreshes_per_second": _within(1, 1_000_000),
    "ballast_mib": _within(0, 4096),
}
