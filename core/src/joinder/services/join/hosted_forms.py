"""Our own form of a join session: what it asks, what is wrong with the entries before anybody is asked."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from joinder.errors import ConsentInvalid, VendorError
from joinder.runtime.hub import Hub
from joinder.services.join import continuations, session_secrets
from joinder.services.join.browser_sessions import refused
from joinder.store.tables import Account, JoinSession
from joinder.vendor import Field, Flow, Vendor

Fault = Literal["missing", "too long", "not chosen"]


class FormRefused(Exception):
    """The form is shown again: with what the owner can correct (422), or because the vendor is away (503).

    `faulty`: fields that are `missing`, `too long` or `not chosen`, before anybody was asked.
    """

    def __init__(
        self, form: Form, values: Mapping[str, str], error: VendorError, faulty: Mapping[str, Fault] | None = None
    ) -> None:
        super().__init__(str(error))
        self.form = form
        self.values = values
        self.error = error
        self.faulty = faulty or {}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A hosted form to show; `asked_by` is the account that will read the system."""

    vendor: Vendor
    account_id: str
    asked_by: str
    form_token: str  # of this step; `is_of_session` knows those of earlier ones
    leads_to: str  # the integrator's address, when it is over
    fields: tuple[Field, ...]
    question: str | None = None  # of a further step, which the vendor asks
    locale: str | None = None
    lands: bool = False


async def form_of(hub: Hub, row: JoinSession, vendor: Vendor) -> Form:
    async with hub.store.read() as session:
        account = await session.get(Account, row.account_id)
    secrets = await session_secrets.of(hub, row)
    further = continuations.in_secrets(secrets)
    if further is None and vendor.flow is not Flow.FORM:
        raise refused(hub, row, "link_invalid")
    return Form(
        vendor=vendor,
        account_id=row.account_id,
        asked_by=account.name if account else "",
        form_token=f"{secrets['form']}.{further.step}" if further is not None else secrets["form"],
        leads_to=row.client_redirect_uri,
        fields=vendor.consent_fields if further is None else further.fields,
        question=further.question if further is not None else None,
        locale=row.locale,
        lands=row.lands,
    )


def is_of_session(form: Form, form_token: str) -> bool:
    """Tells whether a form token is of this session, in constant time, whichever step it was made for."""
    sent, own = form_token.partition(".")[0], form.form_token.partition(".")[0]
    return hmac.compare_digest(sent.encode(), own.encode())


def checked_entries(form: Form, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the form's own fields, pasted blanks trimmed. Raises FormRefused for a missing or overlong one."""
    entered = {entry.name: values.get(entry.name, "").strip() for entry in form.fields}
    faulty = {entry.name: fault for entry in form.fields if (fault := _fault(entry, entered[entry.name]))}
    if faulty:
        raise FormRefused(form, values, ConsentInvalid("Some entries are missing, or too long"), faulty)
    return {name: value for name, value in entered.items() if value}


def _fault(entry: Field, value: str) -> Fault | None:
    if entry.required and not value:
        return "not chosen" if entry.choices else "missing"
    if len(value) > entry.max_length:
        return "too long"
    return "not chosen" if entry.choices and value and entry.problem(value) else None


def form_path(token: str) -> str:
    return f"/join/sessions/{token}"
