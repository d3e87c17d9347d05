"""Grants and consents. A token is never lost over a member beside it: what does not hold is left out, the rest kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from joinder.errors import PluginBug, UnexpectedPayload
from joinder.grants import Consent, Grant, GrantState
from joinder.redact import Secrets
from joinder.vendors.gate import values

SECRETS_MOST, SECRET_LENGTH_MOST = 50, 64 * 1024
FACTS_MOST, FACT_LENGTH_MOST = 100, 4096
SITES_MOST = 10_000
log = logging.getLogger("joinder.vendors")


def checked_consent(consent: Consent, vendor: str) -> Consent:
    """Raises PluginBug for what is no grant, UnexpectedPayload for one that is endless or whose sites are none."""
    if not isinstance(consent.grant, Grant):
        raise PluginBug(f"plugin {vendor} answered a consent without a grant")
    grant = checked_grant(consent.grant, vendor)
    if consent.grant.site_ids and not grant.site_ids:
        raise UnexpectedPayload("The vendor's list of sites holds no id that can be used")
    if _is_endless(grant.secrets):
        raise UnexpectedPayload("The vendor's grant is larger than any token")
    account_id = None if consent.account_id is None else values.identifier(consent.account_id)
    if account_id is None and consent.account_id is not None:
        log.warning("%s named the consenting account by something that is no id; it counts as unnamed", vendor)
    return replace(consent, grant=grant, account_id=account_id)


def checked_grant(grant: Grant, vendor: str) -> Grant:
    """Raises PluginBug where the secrets are none: nothing could be kept of such a grant."""
    if not isinstance(grant.secrets, Secrets):
        raise PluginBug(f"plugin {vendor} answered a grant whose secrets are no Secrets")
    return replace(
        grant,
        facts=MappingProxyType(_facts(grant.facts)),
        expires_at=_expiry(grant.expires_at, vendor),
        refresh_expires_at=_expiry(grant.refresh_expires_at, vendor),
        site_ids=_site_ids(grant.site_ids),
        state=GrantState(grant.state) if grant.state in tuple(GrantState) else GrantState.ACTIVE,
    )


def _is_endless(secrets: Secrets) -> bool:
    """Asked of a consent only: a renewed token is kept whatever its size, as the one before it is spent."""
    return len(secrets) > SECRETS_MOST or any(len(secrets[name]) > SECRET_LENGTH_MOST for name in secrets)


def _facts(facts: object) -> dict[str, str]:
    told = facts.items() if isinstance(facts, Mapping) else ()
    kept = {name: value for name, value in told if isinstance(name, str) and isinstance(value, str)}
    short = {name: value for name, value in kept.items() if len(name) <= 64 and len(value) <= FACT_LENGTH_MOST}
    return dict(list(short.items())[:FACTS_MOST])


def _expiry(at: object, vendor: str) -> datetime | None:
    """Unknown where it is no aware time: the token is kept, and its expiry found out when it is refused."""
    if at is None or (isinstance(at, datetime) and at.tzinfo is not None and at.year >= values.EARLIEST_YEAR):
        return at
    log.warning("%s named an expiry that is no time with an offset; it counts as unknown", vendor)
    return None


def _site_ids(ids: object) -> tuple[str, ...]:
    """Each once, in order."""
    told = ids if isinstance(ids, tuple | list) else ()
    return tuple(dict.fromkeys(entry for entry in told[:SITES_MOST] if values.identifier(entry) is not None))
