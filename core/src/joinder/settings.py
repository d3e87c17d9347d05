"""Everything an operator can set, read once from JOINDER_* by the command line and passed down.

`NAME_FILE` in place of any `NAME` names a file that holds the value.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field, structs
from packaging.requirements import InvalidRequirement, Requirement

SPANS = ("minute", "day", "month")
MOST_CALLS = 10**9
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class ConfigError(Exception):
    """A setting that cannot work; the text names it and says what to do. Exit code 78."""


class Settings(Struct, frozen=True, kw_only=True):
    database_url: str = "sqlite:///joinder.sqlite3"  # sqlite:///relative or sqlite:////absolute
    key_file: str = "joinder.key"  # 32 random bytes in base64; `joinder keys create` writes it
    public_url: str = "http://127.0.0.1:8080"  # as owners' browsers and vendors see this server
    host: str = "127.0.0.1"
    port: int = 8080
    plugins: tuple[str, ...] | None = None  # distributions to load, with versions; None: every installed one
    trusted_proxies: tuple[str, ...] = ()  # CIDRs of proxies whose X-Forwarded-For counts
    allowed_networks: tuple[str, ...] = ()  # CIDRs in which owners may name devices; empty: nowhere
    reroute: Mapping[str, str] = field(default_factory=dict)  # vendor host → simulator on 127.0.0.1
    call_limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # vendor → span → calls of your plan
    password_grants: tuple[str, ...] = ()  # vendors whose credentials may hold a person's password
    public_files: str | None = None  # folder of files vendors fetch from this server, such as public keys
    log_level: str = "INFO"
    refreshes_per_second: float = 2.0  # token exchanges of one vendor app, over all processes
    log_format: Literal["auto", "json", "text"] = "auto"  # auto: text at a terminal, else JSON
    metrics_port: int | None = None  # /metrics on 127.0.0.1, without a token
    metrics_token_file: str | None = None  # who presents its content may read /metrics beside the API
    refresh_deadline_s: float = 30.0  # total time of one token exchange; a timeout here can lose a token
    ballast_mib: int = 64  # SQLite: room held for tokens in flight when the disk is full; 0: none
    journal_folder: str | None = None  # of new tokens, sealed; None: beside a SQLite file, else there is none

    def __repr__(self) -> str:
        return f"Settings({self.public_url})"  # the database's URL may hold a password

    @property
    def is_https(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Tells whether nobody else reaches this server: development and tests."""
        return not self.is_https and urlsplit(self.public_url).hostname in LOOPBACK_HOSTS


_VARIABLES = {f"JOINDER_{name.upper()}": name for name in Settings.__struct_fields__}


_PLUGINS = ("JOINDER_PLUGINS", "JOINDER_PLUGINS_FILE")


def settings_from_env(env: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings. Raises ConfigError for an unknown or unusable JOINDER_* variable."""
    return settings_and_origins(env)[0]


def settings_and_origins(env: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Reads the settings, and the variable that each one which is no default comes from.

    Raises ConfigError as `settings_from_env`.
    """
    parsed: dict[str, object] = {}
    origins: dict[str, str] = {}
    for variable, value in (os.environ if env is None else env).items():
        if variable.startswith("JOINDER_"):
            name = _name(variable)
            if name in parsed:
                raise ConfigError(f"{origins[name]} and {variable} are both set; keep one of them")
            parsed[name] = _parsed(name, value if variable in _VARIABLES else _content(variable, value))
            origins[name] = variable
    try:
        return _checked(msgspec.convert(parsed, Settings, strict=False)), origins
    except msgspec.ValidationError as error:
        raise ConfigError(f"A JOINDER_ setting cannot be read: {error}") from None


def plugins_from_env(env: Mapping[str, str] | None = None) -> tuple[str, ...] | None:
    """That setting alone, for what runs before the others matter. Raises ConfigError."""
    given = os.environ if env is None else env
    return settings_from_env({name: given[name] for name in _PLUGINS if name in given}).plugins


def _name(variable: str) -> str:
    """Returns the name of the setting. Raises ConfigError with what was probably meant."""
    name = _VARIABLES.get(variable) or _VARIABLES.get(variable.removesuffix("_FILE"))
    if name is None:
        near = difflib.get_close_matches(variable, [*_VARIABLES, *(f"{known}_FILE" for known in _VARIABLES)], 1)
        raise ConfigError(f"{variable} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return name


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or "not a text"
        raise ConfigError(f"{variable}: {path} cannot be read: {told}") from None


def _parsed(name: str, value: str) -> object:
    try:
        if name == "plugins":
            return _plugins(value)
        if name in ("allowed_networks", "trusted_proxies", "password_grants"):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if name == "reroute":
            return dict(part.strip().split("=", 1) for part in value.split(",") if part.strip())
        if name == "call_limits":
            return _call_limits([part.strip() for part in value.split(",") if part.strip()])
    except ValueError:
        raise ConfigError(f"JOINDER_{name.upper()}={value} cannot be read") from None
    return value


def _plugins(text: str) -> tuple[str, ...]:
    """Distributions, with versions where one likes; a comma may stand between versions too."""
    parts: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        if parts and part.startswith(("<", ">", "=", "!", "~")):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    for part in parts:
        _check_requirement(part)
    return tuple(parts)


def _check_requirement(part: str) -> None:
    try:
        wanted = Requirement(part)
    except InvalidRequirement:
        wanted = None
    if wanted is None or wanted.url or wanted.marker or wanted.extras:
        raise ConfigError(f"JOINDER_PLUGINS: write a distribution, as joinder-acme or joinder-acme>=1,<2, not {part}")


def _call_limits(parts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Parses `vendor:span=calls` each. Raises ConfigError.

    Whether there is such a vendor is known only when the plugins are loaded.
    """
    limits: dict[str, dict[str, int]] = {}
    for part in parts:
        found = re.fullmatch(r"([^:=\s]+):([^:=\s]+)=([^:=\s]+)", part)
        if found is None:
            raise ConfigError(f"JOINDER_CALL_LIMITS: write vendor:span=calls, as acme:minute=60, not {part}")
        vendor, span, calls = found.groups()
        if span not in SPANS:
            raise ConfigError(f"JOINDER_CALL_LIMITS: {part}: no span is named {span}; use {', '.join(SPANS)}")
        if not re.fullmatch(r"[0-9]{1,10}", calls) or not 1 <= int(calls) <= MOST_CALLS:
            raise ConfigError(f"JOINDER_CALL_LIMITS: {part}: calls must be a whole number from 1 to {MOST_CALLS}")
        if span in limits.setdefault(vendor, {}):
            raise ConfigError(f"JOINDER_CALL_LIMITS: {vendor}:{span} is there twice")
        limits[vendor][span] = int(calls)
    return limits


def call_limits_text(limits: Mapping[str, Mapping[str, int]]) -> str:
    """Formats limits as JOINDER_CALL_LIMITS is written."""
    return ",".join(f"{vendor}:{span}={calls}" for vendor, spans in limits.items() for span, calls in spans.items())


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    loopback = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    bare = parts.netloc.lower() == f"{host}" + ("" if port is None else f":{port}")
    return (
        (parts.scheme == "https" or loopback) and bare and url[len(parts.scheme) + 3 + len(parts.netloc) :] in ("", "/")
    )


def _checked(settings: Settings) -> Settings:
    if not _is_origin(settings.public_url):
        raise ConfigError("JOINDER_PUBLIC_URL must be an https origin without a path (http only for 127.0.0.1)")
    for name in ("allowed_networks", "trusted_proxies"):
        _check_networks(f"JOINDER_{name.upper()}", getattr(settings, name))
    for host, stand_in in settings.reroute.items():
        if not stand_in.startswith(("http://127.0.0.1:", "https://127.0.0.1:")) or "@" in stand_in:
            raise ConfigError(f"JOINDER_REROUTE: {host} may only go to a simulator on 127.0.0.1")
    if not 0 <= settings.port <= 65535:
        raise ConfigError("JOINDER_PORT must lie between 0 and 65535")
    if settings.metrics_port is not None and not 0 < settings.metrics_port <= 65535:
        raise ConfigError("JOINDER_METRICS_PORT must lie between 1 and 65535")
    if settings.log_level.upper() not in logging.getLevelNamesMapping():
        raise ConfigError("JOINDER_LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    if not 0 < settings.refresh_deadline_s <= 80:  # a hook itself ends after 90, and that must not come first
        raise ConfigError("JOINDER_REFRESH_DEADLINE_S must lie between 0 and 80 seconds")
    if settings.refreshes_per_second < 1:
        raise ConfigError("JOINDER_REFRESHES_PER_SECOND must be at least 1")
    if not 0 <= settings.ballast_mib <= 4096:
        raise ConfigError("JOINDER_BALLAST_MIB must lie between 0 and 4096")
    return structs.replace(settings, public_url=_as_browsers_write(settings.public_url))


def _check_networks(variable: str, networks: Sequence[str]) -> None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}") from None


def _as_browsers_write(origin: str) -> str:
    """Returns an origin in lower case, without a default port: what an Origin header is compared with."""
    parts = urlsplit(origin)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, default) else f":{parts.port}")
