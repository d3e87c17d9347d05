from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.admin import ACTOR
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.running import echo, json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.keys import KeyUse, Progress
    from joinder.services.admin.peppers import PepperUse


@click.group(name="keys")
def command() -> None:
    """The keys that seal every stored secret. Example:  joinder keys status"""


@command.command()
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
def create(path: Path | None) -> None:
    """Create the key file. Example:  joinder keys create joinder.key

    Keep a copy apart from the database: without it nothing stored can be read again.
    """
    from joinder.settings import settings_from_env
    from joinder.store.key_file import create_key_file

    target = path or Path(settings_from_env().key_file)
    create_key_file(target)
    echo(f"Created {target}, readable by you alone. Keep a copy apart from the database.")


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Show the keys of the file, by id, and what each wraps. Example:  joinder keys status"""
    from joinder.services.admin import keys

    show([_row(use) for use in on_hub(keys.uses)], as_json)


@command.command(name="peppers")
@json_option
def list_peppers(as_json: bool) -> None:
    """Show the peppers of clients' secrets, and which clients need each. Example:  joinder keys peppers"""
    from joinder.services.admin import peppers

    show([_pepper_row(use, as_json) for use in on_hub(peppers.uses)], as_json)


@command.command()
@click.option("--prepare", is_flag=True, help="Only write the new key; give the file to every machine, then rotate.")
@click.option("--data-keys", is_flag=True, help="New keys for accounts, instead: all that is stored is sealed again.")
@click.option("--pepper", is_flag=True, help="A new pepper, instead: for clients' secrets, links, the audit's heads.")
@click.option("--signing", is_flag=True, help="A new key for access tokens, instead.")
@click.option("--at-once", is_flag=True, help="With --signing: every access token ends.")
@click.option("--dry-run", is_flag=True, help="With --data-keys or --pepper: say what it is about, change nothing.")
@json_option
def rotate(
    prepare: bool, data_keys: bool, pepper: bool, signing: bool, at_once: bool, dry_run: bool, as_json: bool
) -> None:
    """Seal with a new key from now on. Example:  joinder keys rotate

    Servers go on. What is cut goes on with the next run. The old key, or pepper, stays until it is retired.
    """
    _check_rotation(prepare, data_keys, pepper, signing, at_once, dry_run)
    if signing:
        key_id = on_hub(lambda hub: _new_signing_key(hub, at_once))
        told = "signs from now on; every access token has ended" if at_once else "signs in ten minutes"
        _say({"key": key_id}, f"{key_id} {told}.", as_json)
        return
    if data_keys:
        _rotate_data_keys(dry_run, as_json)
        return
    if pepper:
        _rotate_pepper(dry_run, as_json)
        return
    if prepare:
        key_id, is_new = on_hub(_prepared)
        _say(
            {"key": key_id, "new": is_new}, f"{key_id} comes first in the key file. Then: joinder keys rotate", as_json
        )
        return
    done = on_hub(lambda hub: _rotated(hub))
    told = f"{done.key_id} wraps all {done.total} data keys. Keep a copy of the key file apart from the database."
    _say({"key": done.key_id, "dataKeys": done.total}, told, as_json)


@command.command()
@click.argument("key_id")
@severe
def retire(key_id: str, confirm: str | None, dry_run: bool) -> None:
    """Take a key that wraps nothing out of the file, or end a pepper. Example:  joinder keys retire 3f9c…"""
    from joinder.services.admin import keys, peppers
    from joinder.settings import settings_from_env

    service: ModuleType = peppers if key_id.startswith("dkey-") else keys
    on_hub(lambda hub: service.retirable(hub, key_id))
    of_a_key = [
        f"{key_id} wraps no data key and is taken out of {settings_from_env().key_file}.",
        "Backups made before the rotation open with this key alone: keep a copy of the file as long as those.",
    ]
    of_a_pepper = [
        f"{key_id} is erased; no client needs it.",
        "Links to owners' pages, receipts and reconnect links that were made with it work no more; make new ones.",
    ]
    touches = of_a_pepper if service is peppers else of_a_key
    if agreed_by_name(key_id, touches, confirm=confirm, dry_run=dry_run):
        on_hub(lambda hub: service.retire(hub, ACTOR, key_id))
        echo(f"{key_id} is retired.")


def _check_rotation(prepare: bool, data_keys: bool, pepper: bool, signing: bool, at_once: bool, dry_run: bool) -> None:
    if prepare + data_keys + pepper + signing > 1:
        raise click.UsageError("Give one of --prepare, --data-keys, --pepper and --signing.")
    if at_once and not signing:
        raise click.UsageError("--at-once goes with --signing.")
    if dry_run and not (data_keys or pepper):
        raise click.UsageError("--dry-run goes with --data-keys or --pepper.")


async def _new_signing_key(hub: Hub, at_once: bool) -> str:
    from joinder.services.records import signing_keys

    return await signing_keys.rotate(hub, ACTOR, at_once=at_once)


def _rotate_data_keys(dry_run: bool, as_json: bool) -> None:
    from joinder.services.admin import data_keys

    if dry_run:
        accounts, sealed = on_hub(data_keys.foretold)
        about = f"{accounts} accounts and the system get a new key, and {sealed} sealed values are sealed again."
        text = f"{about} Nothing was changed."
        _say({"accounts": accounts, "sealed": sealed}, text, as_json)
        return

    async def run(hub: Hub) -> data_keys.Progress:
        progress = data_keys.Progress(done=0, total=0)
        async for progress in data_keys.rotate(hub, ACTOR):
            echo(f"{progress.done} of {progress.total} sealed values", err=True)
        return progress

    done = on_hub(run)
    kept = "" if done.ended else " Old keys end with a later run, a day from now at the earliest."
    _say({"sealed": done.done, "ended": done.ended}, f"{done.done} values are sealed again.{kept}", as_json)


def _rotate_pepper(dry_run: bool, as_json: bool) -> None:
    from joinder.services.admin import peppers

    async def run(hub: Hub) -> peppers.Progress:
        async for progress in peppers.rotate(hub, ACTOR):
            echo(f"{progress.done} of {progress.total} heads of the audit", err=True)
        return progress

    if dry_run:
        held = on_hub(peppers.uses)
        clients, heads = sum(len(one.clients) for one in held), sum(one.heads for one in held)
        text = (
            f"{heads} heads of the audit are sealed again, {clients} clients by their next log-in. Nothing was changed."
        )
        _say({"clients": clients, "heads": heads}, text, as_json)
        return
    done = on_hub(run)
    told = f"{done.pepper_id} makes what is new. The old pepper holds until no client needs it: joinder keys peppers."
    _say({"pepper": done.pepper_id, "heads": done.total}, told, as_json)


def _row(use: KeyUse) -> dict[str, Any]:
    state = "wraps what is new" if use.first else "may be retired" if use.is_retirable else "needed"
    return {"key": use.id, "wraps": use.wraps, "state": state}


def _pepper_row(use: PepperUse, as_json: bool) -> dict[str, Any]:
    state = "makes what is new" if use.newest else "may be retired" if use.is_retirable else "needed"
    return {"pepper": use.id, "clients": use.clients if as_json else ", ".join(use.clients) or "none", "state": state}


def _say(row: dict[str, Any], text: str, as_json: bool) -> None:
    show([row], True) if as_json else echo(text)


async def _prepared(hub: Hub) -> tuple[str, bool]:
    from joinder.services.admin import keys

    return await keys.prepare(hub)


async def _rotated(hub: Hub) -> Progress:
    from joinder.services.admin import keys

    async for progress in keys.rotate(hub, ACTOR):
        echo(f"{progress.done} of {progress.total} data keys", err=True)
    return progress
