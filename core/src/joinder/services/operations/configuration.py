"""What is set, where it comes from, and whether it can work. Opens and creates nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from joinder.redact import Secrets
from joinder.services.calls.call_limits import apply_call_limits
from joinder.settings import ConfigError, Settings, call_limits_text
from joinder.store.engine import parsed_url
from joinder.store.key_file import read_key_file
from joinder.vendors.registry import Registry

HIDDEN = "***"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`value` as its variable is written, without secrets; None: not set."""

    variable: str
    value: str | None
    origin: str


def settings_shown(settings: Settings, origins: Mapping[str, str]) -> list[Setting]:
    return [
        Setting(variable=f"JOINDER_{name.upper()}", value=_shown(settings, name), origin=_origin(name, origins))
        for name in Settings.__struct_fields__
    ]


def problems(settings: Settings) -> list[str]:
    """Lists what stops a start before a store is opened."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: parsed_url(settings.database_url),
        lambda: read_key_file(Path(settings.key_file)),
        lambda: read_metrics_token(settings),
        lambda: apply_call_limits(Registry.load(allow=settings.plugins), settings.call_limits),
    )
    return [problem for check in checks for problem in _problem(check)]


def read_metrics_token(settings: Settings) -> Secrets | None:
    """Reads the metrics' token; None where no file is named.

    Raises ConfigError when the file cannot be read or holds something short.
    """
    if settings.metrics_token_file is None:
        return None
    try:
        token = Path(settings.metrics_token_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"JOINDER_METRICS_TOKEN_FILE cannot be read: {type(error).__name__}") from None
    if len(token) < 20 or not token.isascii():
        raise ConfigError("JOINDER_METRICS_TOKEN_FILE must hold at least 20 ASCII characters")
    return Secrets({"metrics token": token})


def _problem(check: Callable[[], object]) -> Iterable[str]:
    try:
        check()
    except ConfigError as error:
        yield str(error)


def _shown(settings: Settings, name: str) -> str | None:
    value = getattr(settings, name)
    if name == "database_url":
        return without_password(value)
    if name == "call_limits":
        return call_limits_text(value)
    if name == "reroute":
        return ",".join(f"{host}={origin}" for host, origin in value.items())
    if isinstance(value, tuple):
        return ",".join(value)
    return None if value is None else str(value)


def without_password(database_url: str) -> str:
    """Hides the URL's password, or all of it where it cannot be told what of it is the password."""
    try:
        url = parsed_url(database_url)
    except ConfigError:
        return HIDDEN
    if url.get_backend_name() == "sqlite":
        return database_url
    if "@" in f"{url.host}{url.database}":
        return HIDDEN
    plain = url.set(query={}).render_as_string(hide_password=True)
    return f"{plain}?{HIDDEN}" if url.query else plain


def _origin(name: str, origins: Mapping[str, str]) -> str:
    variable = origins.get(name)
    if variable is None:
        return "default"
    return "environment" if variable == f"JOINDER_{name.upper()}" else f"file, by {variable}"
