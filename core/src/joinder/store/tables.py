"""The tables. Times are epoch seconds (UTC). Nothing here validates: the API's structs do, before a row is made.

Columns named `*_sealed` hold vault ciphertext; `*_hash` hold SHA-256 or HMAC of a random secret.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel


def _big(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


def _no() -> Any:
    return Field(default=False, sa_column_kwargs={"server_default": false()})


class Account(SQLModel, table=True):
    """A tenant. `mode` is virtual or production; both see only their own rows."""

    id: str = Field(primary_key=True)
    name: str
    mode: str = "production"
    created_at: int = _big()


class AccountBrand(SQLModel, table=True):
    """How the account looks on the pages of its owners (services/records/brands.py)."""

    __tablename__ = "account_brand"
    account_id: str = Field(primary_key=True, foreign_key="account.id", ondelete="CASCADE")
    colour: str | None = None
    logo: bytes | None = None
    logo_type: str | None = None
    updated_at: int = _big()


class ApiClient(SQLModel, table=True):
    __tablename__ = "api_client"
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id", index=True)
    name: str
    secret_hash: bytes
    scopes: str
    compatible: bool = Field(default=False, sa_column_kwargs={"server_default": false()})  # a client of Derapi
    old_secret_hash: bytes | None = None  # still works for a day after a rotation
    old_secret_until: int | None = _big(default=None)
    created_at: int = _big()
    revoked_at: int | None = _big(default=None)


class RevokedToken(SQLModel, table=True):
    """An access token that ended before its time (RFC 7009), until it would have ended anyway."""

    __tablename__ = "revoked_token"
    __table_args__ = (Index("revoked_token_by_end", "expires_at"),)
    jti: str = Field(primary_key=True)
    expires_at: int = _big()


class Idempotency(SQLModel, table=True):
    """A POST with an Idempotency-Key: in flight, or with its answer, for a day (services/records/idempotency.py)."""

    __table_args__ = (Index("idempotency_by_end", "expires_at"),)
    client_id: str = Field(primary_key=True)
    key_hash: str = Field(primary_key=True)
    account_id: str
    fingerprint: str  # of the request: method, path, query, body
    request_id: str  # of the first attempt; its entry in the audit tells whether it took effect
    status: int | None = None  # None: in flight, or cut
    answer_sealed: bytes | None = None
    created_at: int = _big()
    expires_at: int = _big()


class DataKey(SQLModel, table=True):
    """Keys wrapped by the key-encryption key: one data key per account, the pepper of client secrets."""

    __tablename__ = "data_key"
    __table_args__ = (UniqueConstraint("owner", "purpose"),)
    id: str = Field(primary_key=True)
    owner: str  # account id, or "system"
    purpose: str
    kek_id: str
    wrapped: bytes
    created_at: int = _big()


class SigningKey(SQLModel, table=True):
    __tablename__ = "signing_key"
    id: str = Field(primary_key=True)  # the JWT's kid
    private_sealed: bytes
    public_jwk: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: int = _big()


class VendorCredentials(SQLModel, table=True):
    __tablename__ = "vendor_credentials"
    __table_args__ = (Index("vendor_credentials_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    vendor: str
    type: str
    name: str | None = None
    secrets_sealed: bytes
    version: int = _big(default=1, sa_column_kwargs={"server_default": "1"})  # grows with every change of the secrets
    suspected_at: int | None = _big(default=None)  # the vendor refused this version first then, and proved it not yet
    suspected_by: str | None = None  # token | data: which of the vendor's two doors
    rejected_at: int | None = _big(default=None)  # the refusal was proved; its grants wait
    tests: int = _big(default=0, sa_column_kwargs={"server_default": "0"})  # refusals since suspected_at
    test_at: int | None = _big(default=None)  # one grant tries it again then
    exchanges_wait_until: int | None = _big(default=None)  # the token endpoint's own word (429)
    created_at: int = _big()
    updated_at: int = _big()  # the secrets


class Revocation(SQLModel, table=True):
    """A token of an ended enrollment that its vendor is still to be told of. It outlives its account, for a day."""

    __table_args__ = (Index("revocation_next", "due_at"),)
    enrollment_id: str = Field(primary_key=True)  # which is gone
    account_id: str
    vendor: str
    credentials_id: str | None = None
    sealed: bytes  # the tokens, and what the call needs once the app credentials are gone
    attempts: int = 0
    created_at: int = _big()
    due_at: int = _big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None


class JoinFlow(SQLModel, table=True):
    __tablename__ = "join_flow"
    __table_args__ = (Index("join_flow_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    redirect_uri: str
    vendors: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    program_id: str | None = None
    skip_intro: bool = _no()  # owners leave for the vendor without a page before
    skip_landing: bool = _no()  # and come back to redirect_uri without one after
    created_at: int = _big()


class Program(SQLModel, table=True):
    """What enrollments may be in: by a flow that names it, or by an application."""

    __table_args__ = (Index("program_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    name: str
    start_at: int = _big()
    end_at: int = _big()
    resource_types: list[str] = Field(sa_column=Column(JSON, nullable=False))
    vendors: list[str] = Field(sa_column=Column(JSON, nullable=False))
    options: dict[str, dict[str, str]] = Field(sa_column=Column(JSON, nullable=False))  # of flows, by vendor
    created_at: int = _big()


class Application(SQLModel, table=True):
    """The newest application of an enrollment to its programme; who the customer is stays sealed."""

    __tablename__ = "enrollment_application"
    __table_args__ = (UniqueConstraint("account_id", "key_hash"),)
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    account_id: str
    applied_at: int = _big()
    sealed: bytes
    key_hash: bytes | None = None  # of the Idempotency-Key it was submitted with
    body_hash: bytes | None = None


class JoinSession(SQLModel, table=True):
    """One owner at one flow. Found by the hash of its token (the OAuth `state`, or the form page's path)."""

    __tablename__ = "join_session"
    __table_args__ = (Index("join_session_by_account", "account_id", "created_at"),)
    token_hash: bytes = Field(primary_key=True)
    account_id: str
    flow_id: str
    vendor: str
    credentials_id: str | None = None
    cookie_hash: bytes
    secrets_sealed: bytes  # PKCE verifier, form token
    client_redirect_uri: str
    client_state: str | None = None
    client_reference: str | None = None
    attempts: int = 0
    used_at: int | None = _big(default=None)
    enrollment_id: str | None = None
    reconnects_id: str | None = None  # the enrollment whose grant this consent replaces
    credentials_version: int | None = _big(default=None)  # of the app credentials it began with
    kept_sealed: bytes | None = None  # what the vendor gave for the code, until the enrollment holds it
    ended_at: int | None = _big(default=None)
    end_code: str | None = None  # why it ended (docs/errors.md), "joined" where it went well
    end_text: str | None = None  # the sentence for the person who must act
    locale: str | None = None  # as the link asked for (`ui_locales`); None: as the browser does
    lands: bool = _no()  # on a page of ours, before it goes on to client_redirect_uri
    created_at: int = _big()
    expires_at: int = _big(index=True)


class Enrollment(SQLModel, table=True):
    __table_args__ = (
        Index("enrollment_by_account", "account_id", "id"),
        Index("enrollment_by_owner", "account_id", "vendor", "vendor_account_id"),
        Index("enrollment_by_app", "credentials_id", "created_at", "id"),
        Index("enrollment_by_flow", "flow_id", "created_at", "id"),
        Index("enrollment_by_health", "account_id", "health", "vendor"),
        Index("enrollment_by_state", "health", "created_at", "id"),
        Index("enrollment_by_reference", "account_id", "reference", "id"),
        Index("enrollment_by_client_state", "account_id", "client_state", "id"),
        Index("enrollment_by_time", "created_at", "id", "health", "vendor", "vendor_account_id"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    vendor: str
    credentials_id: str | None = None
    flow_id: str | None = None
    program_id: str | None = None
    vendor_account_id: str | None = None
    reference: str | None = None  # the caller's own word for it
    client_state: str | None = None  # of the last join that had one
    options: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))  # of its flow
    status: str = "enrolled"
    status_reason: str | None = None  # of whoever decided so
    health: str = "ok"
    health_since: int = _big()
    health_reason: str | None = None
    health_actor: str | None = None
    failures: int = 0
    last_success_at: int | None = _big(default=None)
    last_attempt_at: int | None = _big(default=None)
    paused_at: int | None = _big(default=None)  # by the operator: nothing is read, its token is kept alive
    created_at: int = _big()

    @property
    def app(self) -> str:
        """Tells with whose due work, and on whose budget, that of this enrollment is done."""
        return self.credentials_id or self.vendor


class GrantRow(SQLModel, table=True):
    """The secrets of an enrollment. `version` grows with every token; `intent_*` is an exchange begun, not ended."""

    __tablename__ = "grant"
    __table_args__ = (Index("grant_refused", "refused_at"),)
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    sealed: bytes
    version: int = 1
    expires_at: int | None = _big(default=None)
    refresh_expires_at: int | None = _big(default=None)
    state: str = "active"
    obtained_by: str = "consent"
    obtained_at: int = _big()
    refresh_count: int = 0
    intent_id: str | None = None
    intent_at: int | None = _big(default=None)
    intent_count: int = 0  # exchanges begun on this version without a known outcome
    refused_at: int | None = _big(default=None)  # first invalid_grant on this version
    denied_at: int | None = _big(default=None)  # the data API refuses this grant since then, whatever its version
    wait_until: int | None = _big(default=None)  # the token endpoint allows no renewal before (Retry-After)
    odd_since: int | None = _big(default=None)  # the token endpoint gives the same unknown 4xx since then
    odd_code: str | None = None  # that answer
    suspected_at: int | None = _big(default=None)  # refused twice, but so were too many others of its vendor
    warned_at: int | None = _big(default=None)  # half of the refresh token's life went by without a renewal


class GrantVersion(SQLModel, table=True):
    """Where each token of a grant came from, without the token: the last few, for people who must explain a loss."""

    __tablename__ = "grant_version"
    __table_args__ = {"sqlite_with_rowid": False}
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    version: int = Field(primary_key=True)
    obtained_by: str
    obtained_at: int = _big()
    expires_at: int | None = _big(default=None)
    refresh_expires_at: int | None = _big(default=None)


class Due(SQLModel, table=True):
    """Narrow on purpose: what is due, when, for whose app, and who holds it (services/work/leases.py)."""

    __table_args__ = (Index("due_by_app", "kind", "app", "due_at"),)
    kind: str = Field(primary_key=True)  # refresh | poll | approval | consent | expiry | backfill | sites
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    app: str = ""  # whose budget the work is on: the vendor credentials' id, or the vendor's name
    due_at: int = _big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None
    strikes: int = 0  # times in a row it broke in a way no error class explains


_UNREAD = text("fetched_at IS NULL AND gone_at IS NULL")


class SiteRow(SQLModel, table=True):
    __tablename__ = "site"
    __table_args__ = (
        UniqueConstraint("account_id", "vendor", "vendor_id"),
        Index("site_by_account", "account_id", "id"),
        Index("site_by_enrollment", "enrollment_id"),
        Index("site_unread", "account_id", "vendor", sqlite_where=_UNREAD, postgresql_where=_UNREAD),
        # For words looked for in every name. PostgreSQL, which would refuse a long one in an index, walks the table.
        Index("site_by_name", "enrollment_id", "name", "vendor_id").ddl_if(dialect="sqlite"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    enrollment_id: str = Field(foreign_key="enrollment.id", ondelete="CASCADE")
    vendor: str
    vendor_id: str
    name: str
    timezone: str | None = None
    timezone_by: str | None = None  # vendor | coordinates
    lat: float | None = None
    lon: float | None = None
    operational_since: int | None = _big(default=None)
    fetched_at: int | None = _big(default=None)  # None: known by id only
    denied_at: int | None = _big(default=None)  # the vendor refuses this site since then, its enrollment's others not
    gone_at: int | None = _big(default=None)  # no consent opens it any more; its history stays


class SiteRight(SQLModel, table=True):
    """A site that an enrollment's grant lists. Who of several reads it is `site.enrollment_id`."""

    __tablename__ = "site_right"
    __table_args__ = (Index("site_right_by_site", "vendor_site_id", "enrollment_id"), {"sqlite_with_rowid": False})
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    vendor_site_id: str = Field(primary_key=True)


class DeviceRow(SQLModel, table=True):
    """`state` is the normalised energy.Device as JSON; `gone_at` marks one its site no longer lists."""

    __tablename__ = "device"
    __table_args__ = (
        UniqueConstraint("site_id", "kind", "vendor_id"),
        Index("device_by_account", "account_id", "kind", "id"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    site_id: str = Field(foreign_key="site.id", ondelete="CASCADE")
    vendor: str
    kind: str
    vendor_id: str
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    fetched_at: int = _big()
    gone_at: int | None = _big(default=None)
    source: int | None = _big(default=None)  # of the state: a reading_source
    silent_since: int | None = _big(default=None)  # sums of its site lack it since then (services/readings/silence.py)


class Interval(SQLModel, table=True):
    """Energy of one subject (a site as a whole, or one device) in [start, start + resolution)."""

    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    resolution: str = Field(primary_key=True)
    start: int = _big(primary_key=True)
    end: int = _big()
    solar_wh: float | None = None
    charge_wh: float | None = None
    discharge_wh: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    load_wh: float | None = None
    soc_percent: float | None = None
    quality: str = "measured"
    fetched_at: int = _big()
    rule: str | None = None  # why a value is unknown, or not measured (vendors/gate/rules.py, energy.py)
    source: int | None = _big(default=None)  # a reading_source


class CounterRow(SQLModel, table=True):
    """Lifetime registers as polled, kept for two days; intervals are derived from them (docs/decisions/0002)."""

    __tablename__ = "counter"
    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    at: int = _big(primary_key=True)
    solar_wh: float | None = None
    charge_wh: float | None = None
    discharge_wh: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    load_wh: float | None = None
    soc_percent: float | None = None
    source: str | None = None  # which register of the device: another one never continues it


class LiveRow(SQLModel, table=True):
    __tablename__ = "live"
    site_id: str = Field(primary_key=True, foreign_key="site.id", ondelete="CASCADE")
    measured_at: int = _big()
    fetched_at: int = _big()
    solar_w: float | None = None
    battery_w: float | None = None
    grid_w: float | None = None
    load_w: float | None = None
    soc_percent: float | None = None
    source: int | None = _big(default=None)  # a reading_source


class ReadingSource(SQLModel, table=True):
    """Where readings came from: the endpoints that were called and the plugin that read them. `id` hashes it."""

    __tablename__ = "reading_source"
    __table_args__ = {"sqlite_with_rowid": False}
    id: int = _big(primary_key=True)
    endpoints: str  # a line each
    plugin: str
    version: str


class Notice(SQLModel, table=True):
    """One sentence for the operator about an enrollment's answers, however often it was true."""

    __table_args__ = {"sqlite_with_rowid": False}
    enrollment_id: str = Field(primary_key=True, foreign_key="enrollment.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    site_id: str | None = None
    rule: str | None = None  # of the gate; None: the plugin's own warning
    text: str
    count: int = _big(default=1)
    since: int = _big()
    last_at: int = _big()


class Coverage(SQLModel, table=True):
    """Spans that were asked of the vendor, so that an absent row means no data rather than not asked.

    `tries`: how often a span was asked that told nothing at all; 0 for one that told something.
    """

    __table_args__ = {"sqlite_with_rowid": False}
    subject_id: str = Field(primary_key=True)
    resolution: str = Field(primary_key=True)
    start: int = _big(primary_key=True)
    end: int = _big()
    fetched_at: int = _big()
    tries: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class Quota(SQLModel, table=True):
    """Calls of one vendor app in one window of time, taken in blocks before they are made."""

    __table_args__ = {"sqlite_with_rowid": False}
    app: str = Field(primary_key=True)
    span: str = Field(primary_key=True)  # minute | day | month | blocked
    window: int = _big(primary_key=True)  # when the window began; of `blocked`, 0
    used: int = _big(default=0)
    until: int | None = _big(default=None)  # the vendor's own word: no calls before this


class Backfill(SQLModel, table=True):
    """A job that fetches the history of an enrollment's sites, newest first. When it goes on is in `due`."""

    __table_args__ = (
        Index("backfill_by_account", "account_id", "id"),
        Index("backfill_by_enrollment", "enrollment_id", "status"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    enrollment_id: str = Field(foreign_key="enrollment.id", ondelete="CASCADE")
    start: int = _big()
    end: int = _big()
    status: str = "running"  # running | done | cancelled | failed
    windows_total: int = 0
    windows_done: int = 0
    reason: str | None = None  # why it waits, or failed
    created_at: int = _big()
    updated_at: int = _big()


class Tally(SQLModel, table=True):
    """How often something ended in an hour, over all processes (services/records/activity.py)."""

    __table_args__ = {"sqlite_with_rowid": False}
    hour: int = _big(primary_key=True)  # when it began
    vendor: str = Field(primary_key=True)
    what: str = Field(primary_key=True)
    count: int = _big(default=0)


class StoreState(SQLModel, table=True):
    """Facts about this very database, such as that it was restored from a copy."""

    __tablename__ = "store_state"
    name: str = Field(primary_key=True)
    value: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class WebhookEndpoint(SQLModel, table=True):
    """Where an account's events go. Deliveries are signed with `secret_sealed` (Standard Webhooks 1.0)."""

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("webhook_endpoint_by_account", "account_id", "id"),)
    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="account.id")
    url: str
    types: list[str] = Field(sa_column=Column(JSON, nullable=False))  # empty: every type
    secret_sealed: bytes
    old_secret_sealed: bytes | None = None  # still signs for a day after a rotation
    old_secret_until: int | None = _big(default=None)
    failing_since: int | None = _big(default=None)  # nothing but failures since then
    disabled_at: int | None = _big(default=None)
    disabled_reason: str | None = None
    created_at: int = _big()


_FAILED = text("status = 'failed'")


class Delivery(SQLModel, table=True):
    """One event on its way to one endpoint."""

    __table_args__ = (
        Index("delivery_next", "status", "due_at"),
        Index("delivery_by_endpoint", "endpoint_id", "id"),
        Index("delivery_failed", "endpoint_id", "id", sqlite_where=_FAILED, postgresql_where=_FAILED),
        UniqueConstraint("endpoint_id", "event_id"),
    )
    id: str = Field(primary_key=True)
    account_id: str
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id", ondelete="CASCADE")
    event_id: str = Field(foreign_key="event.id", ondelete="CASCADE")
    status: str = "pending"  # pending | delivered | failed
    attempts: int = 0
    answered: int | None = None  # HTTP status of the last attempt
    reason: str | None = None
    created_at: int = _big()
    delivered_at: int | None = _big(default=None)
    due_at: int = _big()
    lease: str | None = None
    lease_boot: str | None = None
    lease_until: float | None = None


class Event(SQLModel, table=True):
    """The outbox: every change of an enrollment, written in the change's own transaction, fanned out afterwards."""

    __table_args__ = (
        Index("event_by_account", "account_id", "at", "id"),
        Index("event_by_enrollment", "enrollment_id", "at"),
        Index("event_by_time", "at", "id"),
        Index("event_to_fan_out", "fanned_out", "at"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    enrollment_id: str  # "" where an event is about none, such as one about a webhook
    type: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    at: int = _big()
    fanned_out: bool = False


class Audit(SQLModel, table=True):
    """Who changed what, written in the change's own transaction, and bound to the entry before (audit_chain.py)."""

    __table_args__ = (
        Index("audit_by_account", "account_id", "at"),
        Index("audit_by_time", "at", "id"),
        Index("audit_in_chain", "account_id", "seq", unique=True),
    )
    id: str = Field(primary_key=True)
    account_id: str
    actor: str
    action: str
    target: str
    reason: str | None = None  # as the person gave it
    at: int = _big()
    result: str | None = None  # ok | refused
    request_id: str | None = None  # of the API, as in its logs
    before_hash: str | None = None  # of the row that was changed; None: it was not there, or is not the target's own
    after_hash: str | None = None
    seq: int | None = _big(default=None)  # None: older than the chain
    hash: bytes | None = None


class AuditHead(SQLModel, table=True):
    """Where an account's chain ends, and begins: at `base_seq`, when older entries were pruned."""

    __tablename__ = "audit_head"
    account_id: str = Field(primary_key=True)
    seq: int = _big(default=0)
    hash: bytes
    base_seq: int = _big(default=0)
    base_hash: bytes
    mac: bytes
    began_at: int = _big()
