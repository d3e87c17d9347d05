"""How an account looks to owners: its name, its colour and its logo, on every page that asks for its consents."""

from __future__ import annotations

import re

from msgspec import Struct
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub, audit
from joinder.services.refusals import NotFound, Unprocessable
from joinder.store.tables import Account, AccountBrand

LOGO_MOST_BYTES = 40_000  # of a page of 60 kB
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}


class Brand(Struct, frozen=True, kw_only=True):
    """An account as its owners see it. `version` grows with every change, so that browsers need not ask again."""

    account_id: str
    name: str
    colour: str | None = None
    has_logo: bool = False
    version: int = 0


class Logo(Struct, frozen=True, kw_only=True):
    content: bytes
    media_type: str


async def of_account(hub: Hub, account_id: str) -> Brand | None:
    """Returns how the account looks; None where it is gone."""
    table = AccountBrand
    query = (
        select(Account.name, table.colour, table.logo_type, table.updated_at)
        .join(table, col(table.account_id) == col(Account.id), isouter=True)
        .where(col(Account.id) == account_id)
    )
    async with hub.store.read() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    name, colour, logo_type, updated_at = row
    return Brand(
        account_id=account_id, name=name, colour=colour, has_logo=logo_type is not None, version=updated_at or 0
    )


async def logo_of(hub: Hub, account_id: str) -> Logo | None:
    """Returns the account's logo; None where it has none."""
    async with hub.store.read() as session:
        row = await session.get(AccountBrand, account_id)
    if row is None or row.logo is None or row.logo_type is None:
        return None
    return Logo(content=row.logo, media_type=row.logo_type)


async def change(
    hub: Hub, account_id: str, actor: str, *, colour: str | None = None, logo: bytes | None = None
) -> Brand:
    """Sets what is given and keeps the rest; an empty colour or logo takes it away.

    Raises NotFound, or Unprocessable with what is wrong.
    """
    checked_colour, logo_type = _checked_colour(colour), _checked_logo(logo)
    async with hub.store.write(account_id) as session:
        account = await session.get(Account, account_id)
        if account is None:
            raise NotFound("There is no such account; see `joinder accounts list`.")
        row = await session.get(AccountBrand, account_id) or AccountBrand(account_id=account_id, updated_at=0)
        if colour is not None:
            row.colour = checked_colour
        if logo is not None:
            row.logo, row.logo_type = logo or None, logo_type
        row.updated_at = max(now(), row.updated_at + 1)
        session.add(row)
        audit(session, account_id, actor, "account.brand", account_id)
        return Brand(
            account_id=account_id,
            name=account.name,
            colour=row.colour,
            has_logo=row.logo_type is not None,
            version=row.updated_at,
        )


def _checked_colour(colour: str | None) -> str | None:
    if not colour:
        return None
    if not _COLOUR.fullmatch(colour.lower()):
        raise Unprocessable("A colour is written as #rrggbb, such as #0b5c3b")
    return colour.lower()


def _checked_logo(logo: bytes | None) -> str | None:
    if not logo:
        return None
    if len(logo) > LOGO_MOST_BYTES:
        raise Unprocessable(f"A logo has at most {LOGO_MOST_BYTES // 1000} kB; this one has {len(logo) / 1000:.1f} kB")
    kind = next((kind for kind, begin in _SIGNATURES.items() if begin.match(logo)), None)
    if kind is None:
        raise Unprocessable("A logo is a PNG, JPEG or WebP image")
    return kind
