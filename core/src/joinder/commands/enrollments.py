from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.admin import ACTOR, account_option, limit_option, owners
from joinder.commands.answering import (
    Columns,
    plain,
    print_json,
    print_link,
    print_list,
    print_one,
    qr_option,
    say,
    with_accounts,
)
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.enrollment_acts import commands, overviews
from joinder.commands.running import echo, json_option, on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.services.admin.removal import Belongings
    from joinder.services.admin.search import EnrollmentListRow, Query
    from joinder.services.grants.revocations import How
    from joinder.services.join.applications import Decision
    from joinder.services.join.enrollments import Overview
    from joinder.wire.enrollments import Enrollment, EnrollmentWarning

_FOUND: Columns[EnrollmentListRow] = {
    "id": lambda row: row.id,
    "vendor": lambda row: row.vendor,
    "site": lambda row: row.site_name,
    "status": lambda row: row.status,
    "health": lambda row: row.health + (" (paused)" if row.paused_at is not None else ""),
    "since": lambda row: _utc(row.health_since),
    "who acts": lambda row: row.health_actor,
    "account": lambda row: row.account_id,
}
_AT_VENDOR: dict[str | None, str] = {
    "requested": " A server or worker revokes its tokens at the vendor.",
    "kept": " Its consent stays at the vendor: another enrollment lives on it.",
    "owner ends it at the vendor": " The vendor cannot be told: the owner ends the consent there.",
}
_WARNINGS: Columns[EnrollmentWarning] = {
    "what": lambda one: one.text,
    "rule": lambda one: one.rule,
    "times": lambda one: one.count,
    "since": lambda one: one.since,
    "last": lambda one: one.last_at,
    "site": lambda one: one.site_id,
}
_TOKENS: Columns[Any] = {
    "version": lambda one: one.version,
    "obtained by": lambda one: one.obtained_by,
    "at": lambda one: one.obtained_at,
    "expires": lambda one: one.expires_at,
    "renewable until": lambda one: one.refresh_expires_at,
}


@click.group(name="enrollments")
def command() -> None:
    """Enrollments: one owner's consent each. Example:  joinder enrollments list --faults"""


for several in commands():
    command.add_command(several)


@command.command(name="list")
@click.option(
    "--filter", "text", default="", metavar="WORDS", help="vendor:x health:y actor:owner is:paused text !not."
)
@click.option("--faults", is_flag=True, help="Only those that are not well.")
@account_option
@limit_option
@click.option("--all", "is_all", is_flag=True, help="All of them, whatever --limit says.")
@json_option
def list_all(text: str, faults: bool, account_id: str | None, limit: int, is_all: bool, as_json: bool) -> None:
    """List enrollments, newest first. Example:  joinder enrollments list --filter "vendor:acme health:degraded !roof"

    All words must fit; text is looked for in ids and in names of sites.
    """
    from joinder.wire.enrollments import Enrollment

    async def look(hub: Hub) -> tuple[list[EnrollmentListRow], int, list[Overview], dict[str, Owner]]:
        known = await owners(hub, account_id)
        query = _query(text, faults, account_id)
        found, count = await _found(hub, query, None if is_all else limit)
        shown = await overviews(hub, [row.id for row in found]) if as_json else []
        return found, count, shown, known

    found, count, shown, known = on_hub(look)
    if as_json:
        print_json([Enrollment.of(one) for one in shown])
    else:
        print_list(found, with_accounts(_FOUND, known), False)
    if len(found) < count:
        say(f"{len(found)} of {count}; --all for the others.")


@command.command()
@click.argument("enrollment_id")
@json_option
def show(enrollment_id: str, as_json: bool) -> None:
    """Show one enrollment, its health and the next step. Example:  joinder enrollments show enrl-…"""
    from msgspec.structs import replace

    from joinder.services.join import enrollments
    from joinder.services.records import notices
    from joinder.wire.enrollments import Enrollment

    async def look(hub: Hub) -> Enrollment:
        found = await enrollments.get(hub, await _account(hub, enrollment_id), enrollment_id)
        return Enrollment.of(found, await notices.of_enrollment(hub, enrollment_id))

    shown = on_hub(look)
    print_one(shown if as_json else replace(shown, warnings=None), as_json)
    if shown.warnings and not as_json:
        echo("\nWarnings of the last week, the newest first:")
        print_list(shown.warnings, _WARNINGS, False)


@command.command()
@click.argument("enrollment_id")
@json_option
def tokens(enrollment_id: str, as_json: bool) -> None:
    """List where its last twenty tokens came from, without the tokens. Example:  joinder enrollments tokens enrl-…"""
    from joinder.services.join import enrollments
    from joinder.wire.enrollments import TokenList

    async def look(hub: Hub) -> Any:
        return TokenList.of(await enrollments.lineage(hub, await _account(hub, enrollment_id), enrollment_id))

    print_list(on_hub(look).tokens, _TOKENS, as_json)


@command.command()
@click.argument("enrollment_id")
@limit_option
@json_option
def events(enrollment_id: str, limit: int, as_json: bool) -> None:
    """List what happened to it, the newest last. Example:  joinder enrollments events enrl-… --limit 10"""
    from joinder.commands.events import COLUMNS
    from joinder.services.records import events
    from joinder.wire.events import Event

    async def look(hub: Hub) -> list[Any]:
        await _account(hub, enrollment_id)
        return [Event.of(one) for one in await events.latest(hub, enrollment_id=enrollment_id, limit=limit)]

    print_list(on_hub(look)[::-1], COLUMNS, as_json)


@command.command()
@click.argument("enrollment_id")
@json_option
def sites(enrollment_id: str, as_json: bool) -> None:
    """List the sites it opens, as stored. Example:  joinder enrollments sites enrl-…"""
    from joinder.commands.sites import COLUMNS
    from joinder.services.join import enrollments
    from joinder.services.readings.sites import get_sites
    from joinder.wire.sites import Site

    async def look(hub: Hub) -> list[Any]:
        account_id = await _account(hub, enrollment_id)
        ids = (await enrollments.get(hub, account_id, enrollment_id)).site_ids
        return [Site.of(*row) for row in await get_sites(hub, account_id, ids)]

    print_list(on_hub(look), COLUMNS, as_json)


@command.command()
@click.argument("enrollment_id")
@click.argument("decision", type=click.Choice(["approved", "rejected", "resubmitrequested", "unenrolled"]))
@click.option("--reason", metavar="TEXT", help="With every decision but approved; at most 500 characters.")
@json_option
def decide(enrollment_id: str, decision: Decision, reason: str | None, as_json: bool) -> None:
    """Decide about an enrollment in a programme. Example:  joinder enrollments decide enrl-… approved

    Where the vendor decides, only `unenrolled` is yours.
    """
    from joinder.services.join import applications, enrollments
    from joinder.wire.enrollments import Enrollment

    if reason is not None and (decision == "approved" or not 1 <= len(reason) <= 500):
        raise click.UsageError("--reason goes with every decision but approved, and has at most 500 characters")

    async def act(hub: Hub) -> Enrollment:
        account = await _account(hub, enrollment_id)
        await applications.decide(hub, account, enrollment_id, ACTOR, decision, reason)
        return Enrollment.of(await enrollments.get(hub, account, enrollment_id))

    print_one(on_hub(act), as_json)


@command.command()
@click.argument("enrollment_id")
@click.option("--redirect-uri", metavar="URL", help="Where the owner goes afterwards; its join flow's when left out.")
@qr_option
@json_option
def reconnect(enrollment_id: str, redirect_uri: str | None, qr: bool, as_json: bool) -> None:
    """Make a link for the owner to consent again. Example:  joinder enrollments reconnect enrl-… --qr

    The enrollment, its ids and history stay. It works for 30 days, for the same owner only.
    """
    from joinder.services.join import reconnect
    from joinder.wire.enrollments import ReconnectLink

    async def ask(hub: Hub) -> str:
        return await reconnect.ask(hub, await _account(hub, enrollment_id), enrollment_id, redirect_uri, ACTOR)

    url = on_hub(ask)
    print_link(ReconnectLink(url=url), url, qr=qr, as_json=as_json)


@command.command(name="owner-link")
@click.argument("enrollment_id")
@qr_option
@json_option
def owner_link(enrollment_id: str, qr: bool, as_json: bool) -> None:
    """Make a link to the owner's own page. Example:  joinder enrollments owner-link enrl-… --qr

    The owner sees there what is read, and can end it. It works for 400 days; send it to nobody else.
    """
    from joinder.services.join import owner_links
    from joinder.wire.enrollments import OwnerLink

    async def ask(hub: Hub) -> str:
        return await owner_links.ask(hub, await _account(hub, enrollment_id), enrollment_id, ACTOR)

    url = on_hub(ask)
    print_link(OwnerLink(url=url), url, qr=qr, as_json=as_json)


@command.command()
@click.argument("enrollment_id")
@click.option("--reference", metavar="TEXT", help="Your own word for it, such as a customer's number.")
@click.option("--none", "is_removed", is_flag=True, help="Remove the reference.")
@json_option
def label(enrollment_id: str, reference: str | None, is_removed: bool, as_json: bool) -> None:
    """Change your own reference of an enrollment. Example:  joinder enrollments label enrl-… --reference customer-7

    It stands in lists, filters and every later event of the enrollment.
    """
    from joinder.services.join import enrollments, labels
    from joinder.wire.enrollments import Enrollment

    if (reference is None) is not is_removed:
        raise click.UsageError("Give either --reference TEXT or --none.")

    async def change(hub: Hub) -> Enrollment:
        account_id = await _account(hub, enrollment_id)
        await labels.change(hub, account_id, enrollment_id, ACTOR, reference=reference)
        return Enrollment.of(await enrollments.get(hub, account_id, enrollment_id))

    print_one(on_hub(change), as_json)


@command.command()
@click.argument("enrollment_id")
@severe
@json_option
def revoke(enrollment_id: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """End an enrollment: erase its tokens, sites and readings. Example:  joinder enrollments revoke enrl-… --dry-run

    Its events and the audit stay. The owner can join again, with new ids.
    """
    from joinder.commands.answers import Ended
    from joinder.services.admin import removal
    from joinder.services.grants import revocations
    from joinder.services.join import enrollments

    async def look(hub: Hub) -> list[str]:
        await _account(hub, enrollment_id)
        told = await revocations.foretold(hub, [enrollment_id])
        return [*_touches(enrollment_id, await removal.belongings(hub, [enrollment_id])), *map(plain, told)]

    async def end(hub: Hub) -> How | None:
        return await enrollments.delete(hub, await _account(hub, enrollment_id), enrollment_id, ACTOR)

    if agreed_by_name(enrollment_id, on_hub(look), confirm=confirm, dry_run=dry_run):
        how = on_hub(end)
        say(f"{enrollment_id} is ended.{_AT_VENDOR.get(how, '')}")
        if as_json:
            print_json(Ended(deleted=enrollment_id, consent=how))


def _touches(enrollment_id: str, ends: Belongings) -> list[str]:
    return [
        f"This ends {enrollment_id}: its tokens are erased, and with them",
        f"  {counted(len(ends.site_names), 'site')}: {plain(', '.join(ends.site_names))}",
        f"  {counted(ends.devices, 'device')}",
        f"  {counted(ends.intervals, 'interval')} of readings",
    ]


def _query(text: str, faults: bool, account_id: str | None) -> Query:
    from joinder.services.admin import search

    return search.parse(f"{text} account:{account_id}" if account_id else text, faults_only=faults)


async def _found(hub: Hub, query: Query, most: int | None) -> tuple[list[EnrollmentListRow], int]:
    """Returns the enrollments found, at most so many, and how many there are."""
    from joinder.services.admin import search

    found: list[EnrollmentListRow] = []
    while most is None or len(found) < most:
        left = search.PAGE if most is None else most - len(found)
        page = await search.page(hub, query, after=found[-1].place if found else None, limit=left)
        found += page
        if len(page) < min(left, search.PAGE):
            break
    return found, await search.count(hub, query)


async def _account(hub: Hub, enrollment_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import Enrollment

    return await account_of(hub, Enrollment, enrollment_id)


def _utc(at: int) -> str:
    from joinder.wire.base import utc

    return utc(at) or "-"
