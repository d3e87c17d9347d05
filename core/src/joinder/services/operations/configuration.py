"""What is set, where it comes from, and whether it can work. Opens and creates nothing."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from joinder import small_files
from joinder.redact import Secrets
from joinder.settings import ConfigError, Meaning, Settings, meaning, shown_value
from joinder.store.engine import parsed_url

HIDDEN = "***"
_EXAMPLES = {  # where the default is nothing, or no TOML
    "plugins": '["joinder-acme", "joinder-other>=1.2,<2"]',
    "trusted_proxies": '["127.0.0.1/32"]',
    "allowed_networks": '["192.168.10.0/24"]',
    "reroute": '{ "api.acme.example" = "http://127.0.0.1:8701" }',
    "call_limits": "{ acme = { minute = 100, month = 300000 } }",
    "password_grants": '["acme"]',
    "public_files": '"public"',
    "metrics_port": "9464",
    "metrics_token_file": '"metrics-token"',
    "journal_folder": '"journal"',
}


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


def reference() -> dict[str, Meaning]:
    """Returns what every setting means, by its key in the file."""
    return {name: meaning(name) for name in Settings.__struct_fields__}


def as_markdown() -> str:
    """Formats every setting as the table of docs/operate.md."""
    rows = [
        f"| `{name}` | {one.default if ' ' in one.default or one.default == 'none' else f'`{one.default}`'} "
        f"| {one.text}{_link(one.more)} |"
        for name, one in reference().items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def as_toml() -> str:
    """Formats every setting as a file to begin with: all of them commented out, at their defaults."""
    parts = [f"{_comment(one.text)}\n# {name} = {_example(name)}" for name, one in reference().items()]
    return "\n\n".join(parts)


def read_metrics_token(settings: Settings) -> Secrets | None:
    """Reads the metrics' token; None where no file is named.

    Raises ConfigError when the file cannot be read or holds something short.
    """
    if settings.metrics_token_file is None:
        return None
    try:
        token = small_files.text(Path(settings.metrics_token_file)).strip()
    except FileNotFoundError:
        raise ConfigError(f"JOINDER_METRICS_TOKEN_FILE: {settings.metrics_token_file} does not exist") from None
    except small_files.Unreadable as why:
        raise ConfigError(f"JOINDER_METRICS_TOKEN_FILE: {settings.metrics_token_file} {why}") from None
    if len(token) < 20 or not token.isascii():
        raise ConfigError("JOINDER_METRICS_TOKEN_FILE must hold at least 20 ASCII characters")
    return Secrets({"metrics token": token})


def _shown(settings: Settings, name: str) -> str | None:
    return without_password(settings.database_url) if name == "database_url" else shown_value(settings, name)


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
    origin = origins.get(name, "default")
    if origin == f"JOINDER_{name.upper()}":
        return "environment"
    return f"file, by {origin}" if origin.startswith("JOINDER_") else origin


def _link(more: str) -> str:
    if not more:
        return ""
    return f" [More]({more})" if more.endswith(".md") else f" [More](#{more})"


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _example(name: str) -> str:
    """Writes a setting's default as TOML, or what one might write."""
    value = _EXAMPLES.get(name, getattr(Settings(), name))
    return value if name in _EXAMPLES else json.dumps(value)
