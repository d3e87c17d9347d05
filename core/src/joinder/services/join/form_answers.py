"""Our form as its owner meets it: shown, sent, cancelled. What it asks stands in hosted_forms.py."""

from __future__ import annotations

from collections.abc import Mapping

from joinder.errors import ConsentContinues
from joinder.runtime.hub import Hub
from joinder.services.calls.strangers import Guest
from joinder.services.join import consents, continuations
from joinder.services.join.attempts import attempt, finish
from joinder.services.join.browser_sessions import refused, session_of
from joinder.services.join.hosted_forms import (
    Form,
    FormRefused,
    checked_entries,
    form_of,
    form_path,
    is_of_session,
)
from joinder.services.join.landings import Landing, landing_of
from joinder.services.join.session_claims import Reopened, claim, same_end
from joinder.vendor import Flow

_ANYBODY = Guest()


async def show(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form | Landing:
    """Returns the page of a session as it stands: its form, or how it ended. Raises JoinRefused."""
    row = await session_of(hub, token, cookies)
    return await (landing_of(hub, row) if row.ended_at is not None else show_form(hub, token, cookies))


async def show_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form:
    """Returns the hosted form of a session. Raises JoinRefused."""
    row = await session_of(hub, token, cookies)
    vendor = hub.registry.vendor(row.vendor)
    if row.ended_at is not None:
        raise refused(hub, row, "link_used")
    if row.used_at is not None:
        raise refused(hub, row, "still_running")
    if vendor.flow is not Flow.FORM and await continuations.of(hub, row) is None:
        raise refused(hub, row, "unfinished")
    return await form_of(hub, row, vendor)


async def submit_form(
    hub: Hub,
    token: str,
    cookies: Mapping[str, str],
    values: Mapping[str, str],
    form_token: str,
    guest: Guest = _ANYBODY,
) -> str:
    """Ends a session with the owner's entries; answers where the owner goes. Raises JoinRefused or FormRefused.

    Entries of a step that is past lead to the question that is open now.
    """
    row = await session_of(hub, token, cookies)
    if row.ended_at is not None:
        return await same_end(hub, row)
    form = await form_of(hub, row, hub.registry.vendor(row.vendor))
    if not is_of_session(form, form_token):
        raise refused(hub, row, "wrong_browser", status=403)
    if form_token != form.form_token:  # of a page sent twice, or gone back to: its entries answer another question
        return form_path(token)
    entered = checked_entries(form, values)
    spent = attempt(hub, row, guest)
    if await claim(hub, row, entered, keeps=form.question is None):
        error = await finish(hub, row, entered, spent)
        if isinstance(error, ConsentContinues):
            return form_path(token)
        if error is not None:
            raise FormRefused(form, values, error)
    else:
        spent.give_back()
    try:
        return await same_end(hub, row)
    except Reopened as reopened:
        if isinstance(reopened.error, ConsentContinues):
            return form_path(token)
        raise FormRefused(form, values, reopened.error) from None


async def cancel_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> str:
    """Ends the session as the owner says no, and returns the way to the integrator, with access_denied.

    Raises JoinRefused.
    """
    while True:
        row = await session_of(hub, token, cookies)
        if await claim(hub, row):
            await consents.end(hub, row, "user_denied", "The owner did not give consent")
        try:
            return await same_end(hub, row)
        except Reopened:
            continue  # another request left the form open: the owner's no holds for what it asks next
