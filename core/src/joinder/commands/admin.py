"""What the admin's commands share: one account or all of them, pages to the end, options that come up often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub

T = TypeVar("T")
Page = Callable[[str, str, int], Awaitable[Sequence[T]]]  # account id, key before the page, length
ACTOR = "command line"
PAGE = 200
NAME_MOST = 24  # letters of an account's name beside its id
account_option = click.option("--account", "account_id", metavar="ACCOUNT_ID", help="Only of this account.")
new_account_option = click.option(
    "--account", "account_id", metavar="ACCOUNT_ID", help="Whose it is; the only account when left out."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)


class Owner(NamedTuple):
    """An account, as a table tells it: its name, and its id to be copied."""

    id: str
    name: str

    @property
    def told(self) -> str:
        name = self.name if len(self.name) <= NAME_MOST else self.name[: NAME_MOST - 1] + "…"
        return f"{name} {self.id}".strip()


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic for the checker only, before click 8.5
    """A day of UTC, or a time with an offset; epoch seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from joinder import moments

        if isinstance(value, int):
            return value
        is_day = len(value) == len("2026-06-01")
        try:
            return moments.read(f"{value}T00:00Z" if is_day else value).epoch
        except ValueError as error:
            self.fail(f"{error}; or a day such as 2026-06-01 (UTC)", param, ctx)


MOMENT = Moment()


async def chosen_account(hub: Hub, account_id: str | None) -> str:
    """Returns the account given, or the only one. Raises NotFound, or Invalid when there are several."""
    from joinder.services.refusals import Invalid, NotFound

    known = await account_ids(hub, account_id)
    if not known:
        raise NotFound('There is no account yet: joinder accounts create "Acme Energy"')
    if len(known) > 1:
        raise Invalid("There are several accounts: name one with --account (joinder accounts list).")
    return known[0]


async def account_ids(hub: Hub, account_id: str | None = None) -> list[str]:
    """Returns the ids of all accounts, or the one given. Raises NotFound."""
    return list(await owners(hub, account_id))


async def owners(hub: Hub, account_id: str | None = None) -> dict[str, Owner]:
    """Returns all accounts by their ids, or the one given. Raises NotFound."""
    from joinder.services.records import accounts
    from joinder.services.refusals import NotFound

    rows = await accounts.list_accounts(hub)
    known = {row.id: Owner(row.id, row.name) for row in rows if account_id in (None, row.id)}
    if account_id is not None and not known:
        raise NotFound("There is no such account; see `joinder accounts list`.")
    return known


async def over_accounts(
    hub: Hub, account_id: str | None, page: Page[T], key: Callable[[T], str], *, most: int | None = None
) -> list[tuple[Owner, T]]:
    """Reads every row of one account or of all, at most `most`, each with its account. Raises NotFound."""
    found: list[tuple[Owner, T]] = []
    for owner in (await owners(hub, account_id)).values():
        after = ""
        while rows := await page(owner.id, after, PAGE):
            found += [(owner, row) for row in rows]
            after = key(rows[-1])
            if len(rows) < PAGE or (most is not None and len(found) >= most):
                break
    return found[:most]


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Parses NAME=VALUE, given several times. Raises UsageError."""
    if any("=" not in pair for pair in given):
        raise click.UsageError(f"{option} takes NAME=VALUE")
    return dict(pair.split("=", 1) for pair in given)
