"""The tables. Times are epoch seconds (UTC). Nothing here validates: the API's structs do, before a row is made.

Columns named `*_sealed` hold vault ciphertext; `*_hash` hold SHA-256 or HMAC of a random secret.
"""

from joinder.store.tables.accounts import (
    Account,
    AccountBrand,
    ApiClient,
    DataKey,
    Idempotency,
    RevokedToken,
    SigningKey,
)
from joinder.store.tables.enrollments import Enrollment, GrantRow, GrantVersion, Revocation, SiteRight
from joinder.store.tables.events import Audit, AuditHead, Delivery, Event, WebhookEndpoint
from joinder.store.tables.joining import Application, JoinFlow, JoinSession, Program, VendorCredentials
from joinder.store.tables.readings import Backfill, CounterRow, Coverage, Interval, Notice, ReadingSource
from joinder.store.tables.sites import DeviceRow, LiveRow, SiteRow
from joinder.store.tables.work import Breaker, Due, Quota, StoreState, Tally

__all__ = [
    "Account",
    "AccountBrand",
    "ApiClient",
    "Application",
    "Audit",
    "AuditHead",
    "Backfill",
    "Breaker",
    "CounterRow",
    "Coverage",
    "DataKey",
    "Delivery",
    "DeviceRow",
    "Due",
    "Enrollment",
    "Event",
    "GrantRow",
    "GrantVersion",
    "Idempotency",
    "Interval",
    "JoinFlow",
    "JoinSession",
    "LiveRow",
    "Notice",
    "Program",
    "Quota",
    "ReadingSource",
    "Revocation",
    "RevokedToken",
    "SigningKey",
    "SiteRight",
    "SiteRow",
    "StoreState",
    "Tally",
    "VendorCredentials",
    "WebhookEndpoint",
]
