"""What is done to enrollments, one or many: each on its own, the trouble of one is nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from joinder.cli import EXIT_FAILED, EXIT_PARTLY
from joinder.commands.admin import ACTOR
from joinder.commands.answering import print_json, say
from joinder.commands.asking import agreed, moderate
from joinder.commands.running import code_of, json_option, on_hub, sentence
from joinder.plurals import counted
from joinder.services.admin.enrollment_operations import SEVERAL, Operation

if TYPE_CHECKING:
    import asyncio

    from joinder.runtime.hub import Hub
    from joinder.services.join.enrollments import Overview

AT_ONCE = 8
NAMED_MOST = 10
F = TypeVar("F", bound=Callable[..., Any])
Asked = tuple[tuple[str, ...], str | None]  # ids, words of a filter


def _several(command: F) -> F:
    """Ids, or --filter; who filters is asked, as more may fit than was thought of."""
    ids = click.argument("enrollment_ids", nargs=-1)
    words = click.option("--filter", "text", metavar="WORDS", help="All that fit, as in `enrollments list`.")
    return ids(words(moderate(json_option(command))))


def commands() -> list[click.Command]:
    """Returns the commands of the table that are done to several at once."""
    return [_command(operation) for operation in SEVERAL]


def _command(operation: Operation) -> click.Command:
    @click.command(operation.word, help=f"{operation.help} Example:  joinder {operation.command} {operation.example}")
    @_several
    def run(enrollment_ids: tuple[str, ...], text: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
        _run(operation, (enrollment_ids, text), yes=yes, dry_run=dry_run, as_json=as_json)

    return run


async def overviews(hub: Hub, ids: Sequence[str]) -> list[Overview]:
    """Reads overviews in batches, as a statement takes only so many ids."""
    from joinder.services.join import enrollments

    found: list[Overview] = []
    for at in range(0, len(ids), 500):
        found += await enrollments.of_ids(hub, ids[at : at + 500])
    return found


def _run(operation: Operation, asked: Asked, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    ids, text = asked
    if bool(ids) == (text is not None):
        raise click.UsageError("Give ids, or --filter.")
    if text is not None:
        ids = on_hub(lambda hub: _fitting(hub, text))
    if (text is not None or dry_run) and not agreed(_touches(operation.done, ids), yes=yes, dry_run=dry_run):
        return
    worked, codes = on_hub(lambda hub: _each(hub, ids, operation, with_answers=as_json))
    if as_json:
        from joinder.wire.enrollments import Enrollment

        print_json([Enrollment.of(one) for one in worked])
    say(f"{len(ids) - len(codes)} of {len(ids)} {operation.done}.")
    if codes:
        raise SystemExit(_code(codes, len(ids)))


def _code(codes: Sequence[int], tried: int) -> int:
    if len(codes) < tried:
        return EXIT_PARTLY
    return codes[0] if len(set(codes)) == 1 else EXIT_FAILED


def _touches(done: str, ids: Sequence[str]) -> list[str]:
    more = [f"  and {len(ids) - NAMED_MOST} others"] if len(ids) > NAMED_MOST else []
    return [f"{counted(len(ids), 'enrollment')} will be {done}:", *(f"  {one}" for one in ids[:NAMED_MOST]), *more]


async def _fitting(hub: Hub, text: str) -> tuple[str, ...]:
    from joinder.services.admin import search

    query, found = search.parse(text), list[search.EnrollmentListRow]()
    while page := await search.page(hub, query, after=found[-1].place if found else None):
        found += page
    return tuple(row.id for row in found)


async def _each(
    hub: Hub, ids: Sequence[str], operation: Operation, *, with_answers: bool
) -> tuple[list[Overview], list[int]]:
    """Runs a few at once; returns those that worked, and the exit code of each that did not."""
    import asyncio

    limit = asyncio.Semaphore(AT_ONCE)
    codes = await asyncio.gather(*(_one(hub, enrollment_id, operation, limit) for enrollment_id in ids))
    worked = [enrollment_id for enrollment_id, code in zip(ids, codes, strict=True) if code is None]
    return await overviews(hub, worked) if with_answers else [], [code for code in codes if code is not None]


async def _one(hub: Hub, enrollment_id: str, operation: Operation, limit: asyncio.Semaphore) -> int | None:
    from joinder.errors import VendorError
    from joinder.runtime.hub import account_of
    from joinder.services.refusals import Refusal
    from joinder.store.tables import Enrollment
    from joinder.trouble import StoreTrouble

    async with limit:
        try:
            account_id = await account_of(hub, Enrollment, enrollment_id)
            remark = await operation.run(hub, account_id, enrollment_id, ACTOR)
        except (Refusal, StoreTrouble, VendorError) as error:
            say(f"{enrollment_id}: {sentence(error)}")
            return code_of(error)
    if remark is not None:
        say(f"{enrollment_id}: {remark}.")
    return None
