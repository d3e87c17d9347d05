"""What an admin does with accounts and their API clients."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from joinder_tui import texts
from joinder_tui.acts import ACTOR, Act

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.records.accounts import NewClient
    from joinder.store.tables import Account, ApiClient
    from joinder_tui.pages import Page
    from joinder_tui.screens.ask import FormValues

ACTS: tuple[Act, ...] = (
    Act(
        "a",
        "account",
        "New account",
        tooltip="Make an account; owners read its name",
        twin="joinder accounts create NAME",
        changes=True,
    ),
    Act(
        "e",
        "account_do('rename')",
        "Rename",
        show=False,
        tooltip="Give the account another name",
        twin="joinder accounts rename ID NAME",
        changes=True,
    ),
    Act(
        "d",
        "account_do('delete')",
        "Delete",
        show=False,
        tooltip="Erase the account with all it has; the audit stays",
        twin="joinder accounts delete ID",
        changes=True,
    ),
    Act(
        "n",
        "account_do('client')",
        "New client",
        tooltip="Make an API client of this account; its secret is shown once",
        twin="joinder clients create NAME --account ID",
        changes=True,
    ),
    Act(
        "o",
        "do('rotate')",
        "Rotate",
        tooltip="A new secret for the client, shown once; the old one works for a day more",
        twin="joinder clients rotate CLIENT_ID",
        changes=True,
    ),
    Act(
        "O",
        "do('rotate_now')",
        "Rotate now",
        show=False,
        tooltip="A new secret for the client, shown once; the old one ends at once",
        twin="joinder clients rotate CLIENT_ID --now",
        changes=True,
    ),
    Act(
        "x",
        "do('revoke')",
        "Revoke",
        tooltip="Revoke the client; its tokens end within 30 seconds",
        twin="joinder clients revoke CLIENT_ID",
        changes=True,
    ),
)


async def add_account(page: Page) -> None:
    from joinder.services.records import accounts
    from joinder_tui.screens.ask import Line, ask

    async def create(hub: Hub, given: FormValues) -> Account:
        return await accounts.create_account(hub, given.lines["called"], ACTOR)

    name = Line("called", "Name, as owners read it", placeholder="Acme Energy")
    made = await ask(page, "A new account", (name,), "Making the account", create)
    if made is not None:
        page.choose("#above", made.id)
        page.notify(f"{made.name} is {made.id}; n makes a client of it.")


async def _rename(page: Page, account: Account) -> None:
    from joinder.services.records import accounts
    from joinder_tui.screens.ask import Line, ask

    async def rename(hub: Hub, given: FormValues) -> str:
        await accounts.rename_account(hub, account.id, ACTOR, given.lines["called"])
        return given.lines["called"]

    name = Line("called", "Name, as owners read it", account.name)
    renamed = await ask(page, f"Another name for {account.id}", (name,), "Renaming", rename)
    if renamed is not None:
        page.notify(f"It is named {renamed}.")


async def _delete(page: Page, account: Account) -> None:
    from joinder.services.admin import account_removal

    held = await page.joinder.asked(lambda hub: account_removal.holdings(hub, account.id))
    if held is None:
        return
    counts = ", ".join(texts.counted(count, _one_of(what)) for what, count in held.items())
    touches = [
        f"Erased: {counts}, with every token, key and reading.",
        "The audit stays. What is cut goes on next time.",
    ]
    if not await page.confirmed_by_name(f"Delete {account.name} ({account.id})?", account.name, touches):
        return
    problem = await page.outcome(f"Deleting {account.name}", lambda hub: _removed(hub, account.id))
    if problem is None and page.joinder.account_id == account.id:
        page.joinder.account_id = None
    _tell(page, problem, "Deleted")


def _one_of(what: str) -> str:
    """Returns the singular of what is held: flows, enrollments, deliveries."""
    return f"{what.removesuffix('ies')}y" if what.endswith("ies") else what.removesuffix("s")


async def _removed(hub: Hub, account_id: str) -> None:
    from joinder.services.admin import account_removal

    async for _ in account_removal.remove(hub, account_id, ACTOR):
        pass


async def _add_client(page: Page, account: Account) -> None:
    from joinder.services.records import accounts
    from joinder_tui.screens.ask import Choices, Line, ask

    async def create(hub: Hub, given: FormValues) -> NewClient:
        scopes = tuple(given.choices["scopes"])
        return await accounts.create_client(hub, account.id, given.lines["called"], scopes, ACTOR)

    fields = (
        Line("called", "Name", "backend"),
        Choices("scopes", "Scopes", (*accounts.SCOPES, accounts.REVEAL), accounts.SCOPES),
    )
    made = await ask(page, f"A new client of {account.name}", fields, "Making the client", create)
    if made is not None:
        page.choose("#below", made.client_id)
        _show_secret(page, made, f"the new client of {account.name}")


async def _rotate(page: Page, client: ApiClient, *, at_once: bool = False) -> None:
    from joinder.services.records import accounts

    ends = "at once" if at_once else "in 24 hours"
    touches = [f"The secret it has now ends {ends}.", "Access tokens live on: they last an hour."]
    if not await page.confirmed(f"Rotate the secret of {client.name} ({client.id})?", touches):
        return
    made = await page.doing(
        "Rotating",
        lambda hub: accounts.rotate_client(hub, client.account_id, client.id, ACTOR, at_once=at_once),
    )
    if made is not None:
        _show_secret(page, made, client.name)


async def _rotate_now(page: Page, client: ApiClient) -> None:
    await _rotate(page, client, at_once=True)


async def _revoke(page: Page, client: ApiClient) -> None:
    from joinder.services.records import accounts

    touches = [f"{client.name} can call the API no more; its tokens end within 30 seconds."]
    if await page.confirmed_by_name(f"Revoke {client.id}?", client.id, touches):
        problem = await page.outcome(
            "Revoking", lambda hub: accounts.revoke_client(hub, client.account_id, client.id, ACTOR)
        )
        _tell(page, problem, "Revoked")


def _tell(page: Page, problem: str | None, done: str) -> None:
    page.notify(problem or done, severity="error" if problem else "information")
    page.reload()


def _show_secret(page: Page, made: NewClient, called: str) -> None:
    from joinder_tui.screens.secret import Secret

    page.app.push_screen(Secret(f"The secret of {called}, {made.client_id}", made.client_secret))


ACCOUNT_DEEDS: dict[str, Callable[[Page, Account], Coroutine[Any, Any, None]]] = {
    "rename": _rename,
    "delete": _delete,
    "client": _add_client,
}
DEEDS: dict[str, Callable[[Page, ApiClient], Coroutine[Any, Any, None]]] = {
    "rotate": _rotate,
    "rotate_now": _rotate_now,
    "revoke": _revoke,
}
