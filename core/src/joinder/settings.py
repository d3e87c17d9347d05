"""Everything an operator can set: in a file that all commands read (config_file.py), and over it JOINDER_* variables.

`NAME_FILE` in place of any `NAME` names a file that holds the value; so does `name_file` in the file. What a setting
means is said here, once: commands and docs/operate.md print it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field, structs

from joinder import config_file, setting_values, small_files
from joinder.config_file import VARIABLE as CONFIG
from joinder.config_file import ConfigError as ConfigError
from joinder.config_file import NotDone as NotDone
from joinder.setting_values import LOOPBACK_HOSTS, as_browsers_write, from_text, holds_password
from joinder.setting_values import SPANS as SPANS
from joinder.setting_values import call_limits_text as call_limits_text


def told(meaning: str, *, default: str = "", more: str = "", is_path: bool = False) -> Meta:
    """Says what a setting means. `default`: in words; `more`: a heading of docs/operate.md; `is_path`: on this disk."""
    return Meta(description=meaning, extra={"default": default, "more": more, "is_path": is_path})


class Settings(Struct, frozen=True, kw_only=True):
    database_url: Annotated[
        str,
        told(
            "`sqlite:///relative`, `sqlite:////absolute`, or `postgresql://USER:PASSWORD@HOST/DATABASE`. Created "
            "(PostgreSQL: the database must exist) and migrated at start; a newer schema is refused."
        ),
    ] = "sqlite:///joinder.sqlite3"
    key_file: Annotated[
        str,
        told(
            "32 bytes in base64, mode 0600 (`joinder keys create`); several such lines after a rotation. No key, no "
            "start.",
            more="keys",
            is_path=True,
        ),
    ] = "joinder.key"
    public_url: Annotated[
        str, told("The https origin that owners' browsers and vendors see; http only on loopback.")
    ] = "http://127.0.0.1:8080"
    host: Annotated[
        str, told("The address the server listens at, or a name of it: `127.0.0.1`, `localhost`, `::1`.")
    ] = "127.0.0.1"
    port: Annotated[int, told("The port the server listens at.")] = 8080
    plugins: Annotated[
        tuple[str, ...] | None,
        told(
            "Distributions to load, with versions where you like: `joinder-acme,joinder-other>=1.2,<2`; or their very "
            "files, as `joinder vendors pin` prints them. No command imports another; one that is not installed just "
            "so stops the start; a name that two claim is nobody's.",
            default="all installed",
            more="vendors.md",
        ),
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        told("CIDRs of your proxies, as `127.0.0.1/32`: only their `X-Forwarded-For` counts.", more="strangers"),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        told(
            "Origins whose pages may read with a browser key, as `https://app.example`; empty: none.",
            more="browser-keys",
        ),
    ] = ()
    requests_per_minute: Annotated[
        int, told("Requests a minute that one API client may send to one server process.", more="api-clients")
    ] = 6000
    allowed_networks: Annotated[
        tuple[str, ...], told("CIDRs in which owners may name devices, as `192.168.10.0/24`; empty: nowhere.")
    ] = ()
    reroute: Annotated[
        Mapping[str, str], told("`vendor.host=http://127.0.0.1:port`: simulators instead of vendors; loopback only.")
    ] = field(default_factory=dict)
    call_limits: Annotated[
        Mapping[str, Mapping[str, int]],
        told(
            "Calls your plans allow: `acme:minute=100,acme:month=300000`.",
            default="what vendors declare",
            more="budgets",
        ),
    ] = field(default_factory=dict)
    password_grants: Annotated[
        tuple[str, ...],
        told("Vendors whose credentials may hold a person's password.", more="decisions/0020-password-grants.md"),
    ] = ()
    public_files: Annotated[
        str | None,
        told("Folder of public files that vendors fetch below `/.well-known/`; never a private key.", is_path=True),
    ] = None
    log_level: Annotated[str, told("How much goes to standard error; redacted at every level.")] = "INFO"
    refreshes_per_second: Annotated[
        float,
        told("Token exchanges of one vendor app that begin in a second, over all processes; at least 1."),
    ] = 2.0
    log_format: Annotated[
        Literal["auto", "json", "text"], told("`json`, `text`, or `auto`: text at a terminal, else JSON.")
    ] = "auto"
    metrics_port: Annotated[
        int | None, told("`/metrics` and `/health/…` on a port of its own.", more="logs-metrics-traces")
    ] = None
    metrics_host: Annotated[
        str,
        told(
            "The address of that port. Any but loopback, as in containers, wants `metrics_token_file`, and is answered "
            "only to who presents it.",
            more="logs-metrics-traces",
        ),
    ] = "127.0.0.1"
    metrics_token_file: Annotated[
        str | None,
        told(
            "Who presents its content (20 ASCII characters or more) as a bearer token may read `/metrics` beside the "
            "API.",
            more="logs-metrics-traces",
            is_path=True,
        ),
    ] = None
    refresh_deadline_s: Annotated[
        float, told("Total time of one token exchange, at most 80. Shorter loses tokens at slow vendors.")
    ] = 30.0
    ballast_mib: Annotated[
        int,
        told("SQLite: room held for tokens in flight when the disk is full; 0: none.", more="a-full-disk"),
    ] = 64
    journal_folder: Annotated[
        str | None,
        told(
            "Folder of new tokens, sealed; on PostgreSQL set one, or they wait in memory only.",
            default="beside a SQLite file",
            more="the-journal-of-new-tokens",
            is_path=True,
        ),
    ] = None

    def __repr__(self) -> str:
        return f"Settings({self.public_url})"  # the database's URL may hold a password

    @property
    def is_https(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Tells whether nobody else reaches this server: development and tests."""
        return not self.is_https and urlsplit(self.public_url).hostname in LOOPBACK_HOSTS


class Meaning(NamedTuple):
    """What is said of a setting, and its default in words."""

    text: str
    default: str
    more: str
    is_path: bool


class Given(NamedTuple):
    """A setting that is no default. `origin`: its variable, or the file; `label`: how sentences call it."""

    value: object
    origin: str
    label: str


_TYPES = {each.name: each.type for each in structs.fields(Settings)}
_VARIABLES = {f"JOINDER_{name.upper()}": name for name in _TYPES}
_KEYS = {name: name for name in _TYPES}
_PLUGINS = ("JOINDER_PLUGINS", "JOINDER_PLUGINS_FILE")
# The file itself, and what a shell holds that follows the README's calls: of a client, not of a hub.
NO_SETTINGS = (CONFIG, "JOINDER_TOKEN")


def settings_from_env(env: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings. Raises ConfigError for an unknown or unusable JOINDER_* variable, or key of the file."""
    return settings_and_origins(env)[0]


def settings_and_origins(env: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Reads the settings, and where each one which is no default comes from: its variable, or the file.

    Raises ConfigError as `settings_from_env`.
    """
    known = os.environ if env is None else env
    given = {**_of_file(config_file.found(known)), **_of_environment(known)}
    settings = Settings(**{name: _usable(name, one) for name, one in given.items()})
    return (
        structs.replace(settings, public_url=as_browsers_write(settings.public_url)),
        {name: one.origin for name, one in given.items()},
    )


def plugins_from_env(env: Mapping[str, str] | None = None) -> tuple[str, ...] | None:
    """Reads that setting alone, for what runs before the others matter. Raises ConfigError."""
    known = os.environ if env is None else env
    given = _of_environment({name: known[name] for name in _PLUGINS if name in known})
    one = given.get("plugins") or _of_file(config_file.found(known), only="plugins").get("plugins")
    return None if one is None else _usable("plugins", one)


def meaning(name: str) -> Meaning:
    """Returns what is said of a setting."""
    said = next(one for one in _TYPES[name].__metadata__ if isinstance(one, Meta))
    extra = said.extra or {}
    return Meaning(said.description or "", extra["default"] or _default(name), extra["more"], extra["is_path"])


def shown_value(settings: Settings, name: str) -> str | None:
    """Formats a setting as its variable is written; None where it is not set."""
    value = getattr(settings, name)
    if name == "call_limits":
        return call_limits_text(value)
    if name == "reroute":
        return ",".join(f"{host}={origin}" for host, origin in value.items())
    if isinstance(value, tuple):
        return ",".join(value)
    return None if value is None else str(value)


def _default(name: str) -> str:
    return shown_value(Settings(), name) or "none"


def _of_environment(env: Mapping[str, str]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for variable, text in env.items():
        if not variable.startswith("JOINDER_") or variable in NO_SETTINGS:
            continue
        name = _name(variable, _VARIABLES, "_FILE", variable)
        if name in given:
            raise ConfigError(f"{given[name].origin} and {variable} are both set; keep one of them")
        value = text if variable in _VARIABLES else _content(variable, text)
        given[name] = Given(value, variable, f"JOINDER_{name.upper()}")
    return given


def _of_file(path: Path | None, only: str | None = None) -> dict[str, Given]:
    """Reads the file's keys, or one of them. Relative paths count from the file's folder."""
    given: dict[str, Given] = {}
    for key, value in (config_file.contents(path) if path else {}).items():
        if isinstance(value, dict) and key not in _KEYS:
            raise ConfigError(f"{path}: [{key}] is no table of settings; they stand without one, as port = 8080")
        name = _name(key, _KEYS, "_file", f"{path}: {key}")
        if name in given:
            raise ConfigError(f"{path} sets {name} and {name}_file; keep one of them")
        if only not in (None, name):
            continue
        label = f"{path}: {key}"
        if key in _KEYS:
            given[name] = Given(_placed(name, value, path), str(path), label)
        else:
            if not isinstance(value, str):
                raise ConfigError(f"{label} must be the name of a file, in quotes")
            text = _content(label, str(_absolute(value, path)))
            given[name] = Given(text, f"{path}, by {key}", label)
    _check_secrets(path, given)
    return given


def _check_secrets(path: Path | None, given: Mapping[str, Given]) -> None:
    """Refuses a password in a file that everybody on this machine reads. Raises ConfigError."""
    url = given.get("database_url")
    is_inside = path and url and url.origin == str(path) and holds_password(str(url.value))
    if path and is_inside and config_file.is_read_by_others(path):
        raise ConfigError(
            f"{path} holds a password and everybody on this machine can read it; run: chmod 600 {path}, or name a "
            "file that holds the URL with database_url_file"
        )


def _placed(name: str, value: object, path: Path | None) -> object:
    """Lets what is relative count from the file's folder, wherever a command is called from."""
    if not isinstance(value, str):
        return value
    if meaning(name).is_path:
        return str(_absolute(value, path))
    prefix = "sqlite:///"
    if name == "database_url" and value.startswith(prefix) and value != prefix and path:
        return f"{prefix}{_absolute(value.removeprefix(prefix), path)}"
    return value


def _absolute(text: str, path: Path | None) -> Path:
    try:
        return (path.parent if path else Path()) / (small_files.path_of(text) if text else Path())
    except small_files.Unreadable as why:
        raise ConfigError(f"{path}: {text} {why}") from None


def _name(given: str, known: Mapping[str, str], suffix: str, label: str) -> str:
    """Returns the name of the setting. Raises ConfigError with what was probably meant."""
    name = known.get(given) or known.get(given.removesuffix(suffix))
    if name is None:
        meant = given.upper() if suffix.isupper() else given.lower().removeprefix("joinder_")
        near = difflib.get_close_matches(meant, [*known, *(f"{one}{suffix}" for one in known)], 1)
        raise ConfigError(f"{label} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return name


def _content(label: str, path: str) -> str:
    try:
        return small_files.text(Path(path)).strip()
    except FileNotFoundError:
        raise ConfigError(f"{label}: {path} cannot be read: No such file or directory") from None
    except small_files.Unreadable as why:
        raise ConfigError(f"{label}: {path} {why}") from None


def _usable(name: str, given: Given) -> Any:
    """Returns the value in its type. Raises ConfigError that begins with how the setting is called."""
    try:
        value = from_text(name, given.value) if isinstance(given.value, str) else given.value
        found = msgspec.convert(value, _TYPES[name], strict=False)
    except msgspec.ValidationError:
        raise ConfigError(f"{given.label} {_wanted(_TYPES[name])}") from None
    except ValueError as error:
        raise ConfigError(f"{given.label} {error}") from None
    wrong = setting_values.unprintable(found) or setting_values.problem(name, found)
    if wrong is not None:
        raise ConfigError(f"{given.label} {wrong}")
    return found


def _wanted(type_: Any) -> str:
    """Says what a setting of this type must be; never what it is, which may be a secret in the wrong place."""
    inner = get_args(type_)[0] if get_origin(type_) is Annotated else type_
    kinds = [kind for kind in get_args(inner) if kind is not NoneType] if get_origin(inner) is UnionType else [inner]
    if get_origin(kinds[0]) is Literal:
        return f"must be one of {', '.join(get_args(kinds[0]))}"
    return f"must be {_KINDS[get_origin(kinds[0]) or kinds[0]]}"


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text, in quotes",
    tuple: "a list of texts",
    Mapping: "a table, as the example of `joinder config reference --toml` shows",
}
