"""The first steps of an operator, done once: key, settings, store, account, client. All of it, or nothing is left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from joinder.config_file import NAME, VARIABLE
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import join_flows, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.services.records.accounts import COMMAND_LINE, NewClient
from joinder.settings import ConfigError, NotDone, settings_from_env
from joinder.store.key_file import create_key_file

KEY, SQLITE = "joinder.key", "sqlite:///"


class Vendors(Struct, frozen=True, kw_only=True):
    """Vendors to begin with: their app credentials and the options of their flow, which owners come back from."""

    credentials: Sequence[Mapping[str, str]]
    offered: Mapping[str, Mapping[str, str]]  # vendor → its options
    redirect_uri: str


class Made(Struct, frozen=True, kw_only=True):
    """What there is now. `client` holds a secret that is shown once."""

    config: Path
    account_id: str
    client: NewClient
    flow_id: str | None


async def set_up(
    folder: Path, settings: Mapping[str, Any], *, account: str, client: str, vendors: Vendors | None = None
) -> Made:
    """Makes everything in the folder; `settings` by their keys in the file.

    Raises ConfigError, a Refusal or StoreTrouble, and leaves the folder as it was.
    """
    with _all_or_nothing(folder, _names(settings)):
        config = _prepared(folder, settings)
        async with open_hub(settings_from_env({VARIABLE: str(config)})) as hub:
            return await _first_rows(hub, config, account, client, vendors)


def _names(settings: Mapping[str, Any]) -> list[str]:
    """Lists what will lie in the folder."""
    database_url = str(settings.get("database_url", ""))
    database = [database_url.removeprefix(SQLITE)] if database_url.startswith(SQLITE) else []
    return [NAME, KEY, *database, *filter(None, [settings.get("journal_folder")])]


@contextmanager
def _all_or_nothing(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Takes out again what was made in the folder, and the folder itself, when the block fails. Raises ConfigError."""
    is_new = not folder.exists()
    made = [folder / name for name in names]
    if there := _there(made):
        raise ConfigError(f"{there[0].absolute()} is there already, and is left as it is; name another folder")
    try:
        yield
    except BaseException:
        _clear(made)
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _there(made: Sequence[Path]) -> list[Path]:
    """Lists what has these names, or begins with them as a database's log does. Raises ConfigError."""
    try:
        return sorted(found for path in made if path.parent.exists() for found in _beginning_with(path))
    except OSError as error:
        raise NotDone(f"{made[0].parent} cannot be a folder for it: {error.strerror}") from None


def _beginning_with(path: Path) -> list[Path]:
    return [found for found in path.parent.iterdir() if found.name.startswith(path.name)]


def _prepared(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Makes the folder, the settings and a new key. Raises ConfigError."""
    path = (folder / NAME).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(config_text(settings))
    except OSError as error:
        raise NotDone(f"{folder} cannot be written: {error.strerror}") from None
    create_key_file(folder / KEY)
    return path


def config_text(settings: Mapping[str, Any]) -> str:
    """Formats settings as TOML; what is empty is left out."""
    head = ["# Made by `joinder init`. Every setting with its meaning: joinder config reference --toml"]
    plain = [f"{name} = {_toml(value)}" for name, value in settings.items() if value and not isinstance(value, Mapping)]
    tables = [_table(name, value) for name, value in settings.items() if value and isinstance(value, Mapping)]
    return "\n".join([*head, *plain, *tables]) + "\n"


def _table(name: str, value: Mapping[str, Any]) -> str:
    rows = []
    for key, member in value.items():
        inside = isinstance(member, Mapping)
        text = (
            f"{{ {', '.join(f'{part} = {_toml(one)}' for part, one in member.items())} }}" if inside else _toml(member)
        )
        rows.append(f"{_toml(key)} = {text}")
    return "\n".join([f"\n[{name}]", *rows])


def _toml(value: Any) -> str:
    """Writes a text, a number or a list of them; JSON is TOML there."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


async def _first_rows(hub: Hub, config: Path, account: str, client: str, vendors: Vendors | None) -> Made:
    owner = await accounts.create_account(hub, account)
    made = await accounts.create_client(hub, owner.id, client)
    flow_id = await _flow(hub, owner.id, vendors) if vendors else None
    return Made(config=config, account_id=owner.id, client=made, flow_id=flow_id)


async def _flow(hub: Hub, account_id: str, vendors: Vendors) -> str:
    stored = {}
    for app in vendors.credentials:
        shown = await vendor_credentials.create(
            hub, account_id, COMMAND_LINE, name=f"simulated-{app['vendor']}", credentials=app
        )
        stored[app["vendor"]] = shown.id
    offered = [
        FlowVendor(vendor=vendor, credentials_id=stored.get(vendor), options=options)
        for vendor, options in vendors.offered.items()
    ]
    flow = await join_flows.create(hub, account_id, COMMAND_LINE, vendors=offered, redirect_uri=vendors.redirect_uri)
    return flow.id


def _clear(made: Sequence[Path]) -> None:
    """Removes what was made here; nothing of these names was there before."""
    with suppress(OSError, ConfigError):
        for path in _there(made):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()
    else:
        path.unlink()
