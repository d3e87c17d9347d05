"""Steps an operator takes at the vendor with an app credential: listed and run as the vendor describes them."""

from __future__ import annotations

from collections.abc import Mapping

from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.records import accounts
from joinder.services.refusals import Invalid, NotFound, pointer
from joinder.store.tables import VendorCredentials
from joinder.vendor import OperatorAction, checked_values


async def list_actions(hub: Hub, account_id: str, credentials_id: str) -> list[OperatorAction]:
    """Lists the actions of this credential's vendor and type. Raises NotFound."""
    async with hub.store.read() as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
    actions = hub.registry.vendor(row.vendor).operator_actions
    return [action for action in actions if not action.credential_types or row.type in action.credential_types]


async def run(
    hub: Hub, account_id: str, credentials_id: str, actor: str, *, name: str, values: Mapping[str, object]
) -> str:
    """Runs an action, and returns the vendor's sentence.

    Raises NotFound, Invalid naming the member, or the vendor's error.
    """
    action = next((a for a in await list_actions(hub, account_id, credentials_id) if a.name == name), None)
    if action is None:
        raise NotFound
    checked = _checked(action, values)
    await accounts.refuse_virtual(hub, account_id)
    async with hub.store.write(account_id) as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        await hub.vault.unlock(session, account_id)
        audit(session, account_id, actor, f"credentials.{name}", credentials_id)
    ctx = vendor_context(hub, row.vendor, open_app(hub, row), budget=row.id)
    return await hub.registry.act(row.vendor, ctx, action, checked)


def _checked(action: OperatorAction, values: Mapping[str, object]) -> dict[str, str]:
    checked, problems = checked_values(action.fields, values)
    if problems:
        errors = {pointer(name): problem for name, problem in problems.items()}
        raise Invalid("The action's values are incomplete or malformed", errors=errors)
    return checked
