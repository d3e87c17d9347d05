"""Grants and consents. A token is never lost over a member beside it: what does not hold is left out, the rest kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from joinder.errors import ConsentContinues, PluginBug, UnexpectedPayload
from joinder.grants import Consent, Grant, GrantState
from joinder.redact import Secrets
from joinder.vendor import Field, Vendor, choices_problem
from joinder.vendors.gate import values

T = TypeVar("T")
SECRETS_MOST, SECRET_LENGTH_MOST = 50, 64 * 1024
FACTS_MOST, FACT_NAME_MOST, FACT_LENGTH_MOST = 100, 64, 4096
SITES_MOST = 10_000
FIELDS_MOST = 20  # of one form
RESERVED = frozenset(("form_token", "action"))  # of our own form
log = logging.getLogger("joinder.vendors")


def checked_consent(consent: Consent, described: Vendor) -> Consent:
    """Returns what of a consent may be stored.

    Raises PluginBug for what is no grant, UnexpectedPayload for one that is endless or whose sites are none.
    """
    vendor = described.name
    if not isinstance(consent.grant, Grant):
        raise PluginBug(f"plugin {vendor} answered a consent without a grant")
    grant = checked_grant(consent.grant, vendor)
    if consent.grant.site_ids and not grant.site_ids:
        raise UnexpectedPayload("The vendor's list of sites holds no id that can be used")
    if _is_endless(grant.secrets):
        raise UnexpectedPayload("The vendor's grant is larger than any token")
    account_id = values.identifier(consent.account_id)
    if account_id is None and consent.account_id is not None:
        log.warning("%s named the consenting account by something that is no id; it counts as unnamed", vendor)
    return Consent(grant=replace(grant, made_as=described.grant_version), account_id=account_id)


def check_continuation(asked: ConsentContinues, vendor: str) -> None:
    """Raises PluginBug for a further question that no owner could answer, or that carries without end."""
    fields = asked.fields
    if not isinstance(fields, tuple) or not all(isinstance(entry, Field) for entry in fields):
        raise PluginBug(f"plugin {vendor} asks the owner for what are no fields")
    names = [entry.name for entry in fields]
    if not names or len(names) > FIELDS_MOST or len(set(names)) < len(names) or set(names) & RESERVED:
        raise PluginBug(f"plugin {vendor} asks the owner for {len(names)} fields, or for two of one name")
    if any(entry.password or choices_problem(entry) for entry in fields):
        raise PluginBug(f"plugin {vendor} asks the owner for a password, or for a choice that cannot be shown")
    if not all(_is_text(name) and _is_text(value) for name, value in asked.carry.items()) or _is_endless(asked.carry):
        raise PluginBug(f"plugin {vendor} carries what is no text, or more than any token, to its next question")


def checked_grant(grant: Grant, vendor: str, before: Grant | None = None) -> Grant:
    """Checks a renewed grant; what cannot be read of its facts and sites is as it was `before`.

    Raises PluginBug where the secrets are none: nothing could be kept of such a grant.
    """
    if not isinstance(grant.secrets, Secrets):
        raise PluginBug(f"plugin {vendor} answered a grant whose secrets are no Secrets")
    secrets = _storable(grant.secrets, vendor)
    facts = MappingProxyType(dict(before.facts) if before else {})
    site_ids = before.site_ids if before else ()

    def kept(name: str, check: Callable[[Any], T], otherwise: T) -> T:
        """Keeps the member as far as it holds, whatever a plugin's own types do when they are looked at."""
        try:
            return check(getattr(grant, name))
        except Exception as error:  # noqa: BLE001 - the token beside it is worth more
            log.warning("%s answered a grant whose %s cannot be read: %s", vendor, name, type(error).__name__)
            return otherwise

    return Grant(
        secrets=secrets,
        facts=kept("facts", lambda told: _facts(told, facts), facts),
        expires_at=kept("expires_at", lambda at: _expiry(at, vendor), None),
        refresh_expires_at=kept("refresh_expires_at", lambda at: _expiry(at, vendor), None),
        site_ids=kept("site_ids", lambda told: _site_ids(told, site_ids), site_ids),
        state=kept("state", lambda state: _state(state, vendor), GrantState.ACTIVE),
        made_as=before.made_as if before else 1,
    )


def _storable(secrets: Secrets, vendor: str) -> Secrets:
    """Drops the secrets that are no text: none that can be sent is lost."""
    kept = {name: value for name, value in secrets.items() if _is_text(name) and _is_text(value)}
    if len(kept) == len(secrets):
        return secrets
    if not kept:
        raise PluginBug(f"plugin {vendor} answered a grant whose secrets are no text")
    log.warning("%s answered a grant with %d secrets that are no text", vendor, len(secrets) - len(kept))
    return Secrets(kept)


def _is_text(value: object) -> bool:
    """Tells whether it can be written down; half of a surrogate pair cannot."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_endless(secrets: Secrets) -> bool:
    """Tells whether a consent's secrets are too many or too long.

    A renewed token is kept whatever its size, as the one before it is spent.
    """
    return len(secrets) > SECRETS_MOST or any(len(secrets[name]) > SECRET_LENGTH_MOST for name in secrets)


def _facts(told: object, before: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(told, Mapping):
        return before
    kept: dict[str, str] = {}
    for name, value in told.items():
        if _is_fact(name, FACT_NAME_MOST) and len(kept) < FACTS_MOST:
            fact = value if _is_fact(value, FACT_LENGTH_MOST) else before.get(name)
            kept.update({} if fact is None else {str.__str__(name): str.__str__(fact)})
    return MappingProxyType(kept)


def _is_fact(value: object, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most and _is_text(value)


def _expiry(at: object, vendor: str) -> datetime | None:
    """Returns the expiry, unknown where it is no aware time.

    The token is kept then, and its expiry found out when it is refused.
    """
    if at is None:
        return None
    moment = values.utc(at)
    if moment is not None and moment.year >= values.EARLIEST_YEAR:
        return moment.replace(microsecond=0)  # kept in seconds, and the last one of the calendar rounds up
    log.warning("%s named an expiry that is no time with an offset; it counts as unknown", vendor)
    return None


def _site_ids(told: object, before: tuple[str, ...]) -> tuple[str, ...]:
    """Returns each id once, in order. A renewal that names none says nothing of them."""
    if not isinstance(told, tuple | list):
        return before
    found = (values.identifier(entry) for entry in told[:SITES_MOST])
    kept = tuple(dict.fromkeys(entry for entry in found if entry is not None))
    return kept or before


def _state(state: object, vendor: str) -> GrantState:
    """Returns the state, active where it is none: a token that was handed over is used."""
    if isinstance(state, str) and state in tuple(GrantState):
        return GrantState(str.__str__(state))
    log.warning("%s answered a grant of no known state; it counts as active", vendor)
    return GrantState.ACTIVE
