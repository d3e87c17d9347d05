"""What stops a start before a store is opened: files, folders, addresses and ports that settings name.

Asked by `joinder config check` and `doctor`, and by `serve` and `worker` before anything else. Opens and makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from joinder import small_files
from joinder.redact import Secrets
from joinder.runtime import listening
from joinder.services.calls.call_limits import apply_settings_of_vendors
from joinder.services.operations.configuration import read_metrics_token
from joinder.setting_values import LOOPBACK_HOSTS
from joinder.settings import ConfigError, Settings
from joinder.store import place
from joinder.store.engine import parsed_url
from joinder.store.file_watch import refuse_strays
from joinder.store.journal import unfit
from joinder.store.key_file import key_path, read_key_file
from joinder.store.sqlite import sqlite_path
from joinder.vendors.registry import Registry

Check = Callable[[Settings], object]


def problems(settings: Settings) -> list[str]:
    """Lists what would stop a start of `serve` or `worker`. A port that is taken may be a server's that runs well."""
    vendors: Check = lambda it: apply_settings_of_vendors(Registry.load(allow=it.plugins), it)  # noqa: E731
    return list(_found(settings, (*_OF_ALL, *_OF_SERVERS, _metrics_address, _address, vendors)))


def refuse(settings: Settings, *, serves: bool) -> None:
    """Raises ConfigError, a line a problem, for what stands against this start; vendors' settings come with the hub."""
    checks = (*_OF_ALL, *_OF_SERVERS, _free_metrics_address, _free_address)
    if found := list(_found(settings, checks if serves else (*_OF_ALL, _free_metrics_address))):
        raise ConfigError("\n".join(found))


def token_of_metrics_port(settings: Settings) -> Secrets | None:
    """Returns what others must present at JOINDER_METRICS_PORT; None where only this machine can ask.

    Raises ConfigError where others can and there is none.
    """
    if settings.metrics_host in LOOPBACK_HOSTS:
        return None
    token = read_metrics_token(settings)
    if token is None:
        raise ConfigError(
            f"JOINDER_METRICS_HOST={settings.metrics_host} is open to others: set JOINDER_METRICS_TOKEN_FILE too"
        )
    return token


def _found(settings: Settings, checks: tuple[Check, ...]) -> Iterator[str]:
    told: set[str] = set()
    for check in checks:
        try:
            check(settings)
        except ConfigError as error:
            if str(error) not in told:  # one may rest on another
                yield str(error)
            told.add(str(error))


def _database(settings: Settings) -> None:
    url = parsed_url(settings.database_url)
    if url.get_backend_name() != "sqlite":
        return
    path = sqlite_path(url)
    place.check(path)
    refuse_strays(path)
    if not path.exists() and (reason := place.forbidden(path)):
        raise ConfigError(f"JOINDER_DATABASE_URL: {path} {reason}")


def _journal(settings: Settings) -> None:
    folder = settings.journal_folder
    if folder is not None and (reason := unfit(Path(folder))):
        raise ConfigError(f"JOINDER_JOURNAL_FOLDER: {folder} {reason}; name a folder that this user may write to")


def _public_files(settings: Settings) -> None:
    folder = settings.public_files
    if folder is not None and (reason := small_files.unfit_folder(Path(folder), writes=False)):
        raise ConfigError(f"JOINDER_PUBLIC_FILES: {folder} {reason}; name a folder that this user may read, or none")


def _two_ports(settings: Settings) -> None:
    hosts = {settings.host, settings.metrics_host}
    is_shared = len(hosts) == 1 or hosts & listening.ALL.keys()
    if settings.port and settings.port == settings.metrics_port and is_shared:
        both = f"JOINDER_PORT and JOINDER_METRICS_PORT are both {settings.port}"
        raise ConfigError(f"{both}; give each a port of its own")


def _address(settings: Settings, *, starts: bool = False) -> None:
    listening.check(settings.host, settings.port, "JOINDER_HOST", "JOINDER_PORT", starts=starts)


def _metrics_address(settings: Settings, *, starts: bool = False) -> None:
    host, port = settings.metrics_host, settings.metrics_port
    if port is not None:
        token_of_metrics_port(settings)
        listening.check(host, port, "JOINDER_METRICS_HOST", "JOINDER_METRICS_PORT", starts=starts)


def _free_address(settings: Settings) -> None:
    _address(settings, starts=True)


def _free_metrics_address(settings: Settings) -> None:
    _metrics_address(settings, starts=True)


_OF_ALL: tuple[Check, ...] = (_database, lambda it: read_key_file(key_path(it.key_file)), _journal)
_OF_SERVERS: tuple[Check, ...] = (_public_files, read_metrics_token, _two_ports)
