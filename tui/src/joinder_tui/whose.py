"""Whose something new is: the account that is looked at, or the only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joinder_tui.pages import Page


async def account(page: Page) -> str | None:
    """Returns whose it is; None, after saying why, when there is none or more than one to choose from."""
    from joinder.services.records import accounts

    if page.joinder.account_id is not None:
        return page.joinder.account_id
    known = await page.joinder.asked(accounts.list_accounts)
    if known is None:
        return None
    if len(known) == 1:
        return known[0].id
    advice = "choose one with 8 and f" if known else "make the first with 8 and a"
    page.notify(f"There are {len(known) or 'no'} accounts: {advice}.", severity="warning")
    return None
