"""What a vendor is, as data. REST schemas, consent forms, the vendors list and polling limits are generated from it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from joinder.redact import Secrets

if TYPE_CHECKING:
    from joinder.grants import AppCredentials, Context

Resolution = Literal["15mins", "day"]
CHOICES_MOST = 200  # of one field: an owner looks through them on a page
CHOICES_NAMED = 20  # in a refusal


class Flow(enum.StrEnum):
    """How consent is obtained."""

    REDIRECT = "redirect"  # the owner consents on the vendor's pages (OAuth 2.0 authorization code)
    FORM = "form"  # the owner types a key or token on our hosted page
    OPERATOR = "operator"  # no owner: the app credential itself opens its sites


class Refresh(enum.StrEnum):
    """What a refresh does to the secret that was used for it."""

    NONE = "none"  # cannot be refreshed; the owner consents again
    ROTATING = "rotating"  # single use: each refresh answers a new refresh token
    REUSABLE = "reusable"  # the same refresh token works until it expires
    STATIC_KEY = "static_key"  # nothing expires


class Capability(enum.StrEnum):
    SOLAR_INVERTERS = "solar_inverters"
    BATTERIES = "batteries"
    METERS = "meters"
    SOLAR_INTERVALS = "solar_intervals"
    BATTERY_INTERVALS = "battery_intervals"
    METER_INTERVALS = "meter_intervals"
    LIVE = "live"
    CHARGERS = "chargers"
    CHARGER_INTERVALS = "charger_intervals"


_READ = {  # what owners are told is read, by the capabilities that mean it
    "solar production": (Capability.SOLAR_INVERTERS, Capability.SOLAR_INTERVALS),
    "battery state": (Capability.BATTERIES, Capability.BATTERY_INTERVALS),
    "grid import and export": (Capability.METERS, Capability.METER_INTERVALS),
    "energy into your car": (Capability.CHARGERS, Capability.CHARGER_INTERVALS),
}
# What every vendor says yes or no to. `Capability` grows with the contract: what a plugin does not name is `not_yet`.
SOLAR_AND_STORAGE = (
    Capability.SOLAR_INVERTERS,
    Capability.BATTERIES,
    Capability.METERS,
    Capability.SOLAR_INTERVALS,
    Capability.BATTERY_INTERVALS,
    Capability.METER_INTERVALS,
    Capability.LIVE,
)


class Support(enum.StrEnum):
    YES = "yes"
    VENDOR_HAS_NONE = "vendor_has_none"
    NOT_YET = "not_yet"


class Field(Struct, frozen=True, kw_only=True):
    """One value somebody enters, declared once for REST, hosted page, terminal and docs."""

    name: str  # as on the wire: clientID, apiKey, host
    label: str
    secret: bool = False
    required: bool = True
    multiline: bool = False
    help: str | None = None
    example: str | None = None
    max_length: int = 4096
    password: bool = False  # a person's own login at the vendor: off until the operator allows it, never revealed
    endpoint: bool = False  # app credentials: an https URL; its host joins Vendor.hosts for calls of this app
    choices: tuple[tuple[str, str], ...] = ()  # (value, label) each: nothing else can be entered

    def problem(self, value: object) -> str | None:
        """Says what is wrong with a value, None being a missing one, in half a sentence; None: it fits, trimmed."""
        if value is None:
            return f"is needed: {self.label}" if self.required else None
        if not isinstance(value, str) or not value.strip() or len(value) > self.max_length:
            return f"must be a text of 1 to {self.max_length} characters ({self.label})"
        if self.choices and value.strip() not in dict(self.choices):
            return f"must be one of: {', '.join(name for name, _ in self.choices[:CHOICES_NAMED])} ({self.label})"
        if self.endpoint and not _is_https(value.strip()):
            return "must be an https URL without user information"
        return None


class AppCredentialType(Struct, frozen=True, kw_only=True):
    """One kind of app credential the operator stores, and the consent flow it opens."""

    type: str
    label: str
    fields: tuple[Field, ...]
    flow: Flow = Flow.REDIRECT
    compatible: bool = False  # True: clients of Derapi know this type of this vendor, with these fields

    @property
    def asks_password(self) -> bool:
        """The password grant (RFC 6749 §4.3), which RFC 9700 §2.4 forbids; docs/decisions/0020-password-grants.md."""
        return any(entry.password for entry in self.fields)


# pinned: https, its certificate pinned; plain: http, which carries nothing secret.
Access = Literal["pinned", "plain"]
# (secrets, facts, the version they are of) → secrets and facts of Vendor.grant_version
Migrate = Callable[[Secrets, Mapping[str, str], int], tuple[Secrets, Mapping[str, str]]]
AuthMethod = Literal["client_secret_basic", "client_secret_post"]


class OAuth2(Struct, frozen=True, kw_only=True):
    """The vendor's OAuth endpoints. Constants: never read from an answer (RFC 9700 §4.4, mix-up)."""

    authorize_url: str
    token_url: str
    scopes: tuple[str, ...] = ()
    pkce: bool = False  # True only where the vendor is known to accept RFC 7636 S256
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"  # noqa: S105 - of RFC 7591
    parameters_in: Literal["form", "query", "json"] = "form"  # where the token call carries its parameters
    state_returned_as: tuple[str, ...] = ("state",)  # callback parameters that may carry `state`, first found counts
    redirect_parameter: str = "redirect_uri"  # as the consent URL calls it
    client_id_parameter: str = "client_id"  # likewise
    state_in: Literal["parameter", "redirect_uri"] = "parameter"  # redirect_uri: the vendor returns no state of ours,
    # so core appends it to the redirect URI; where the vendor compares that in whole, it cannot be used
    fragment: bool = False  # True: the consent page reads its parameters behind the `#` of authorize_url
    invalid_grant_codes: tuple[str, ...] = ()  # the token endpoint's own words for invalid_grant
    extra_authorize_params: Mapping[str, str] = field(default_factory=dict)
    refresh_token_life: timedelta | None = None  # from its issue, where the vendor's documents tell it
    revocation_url: str | None = None  # RFC 7009, where a source names it; on one of Vendor.hosts
    revocation_parameter: Literal["token", "refresh_token"] = "token"  # what carries it; refresh_token: no other token
    issuer: str | None = None  # what a callback's `iss` must be (RFC 9207)
    sends_issuer: bool = False  # True: a callback without `iss` is refused


class History(Struct, frozen=True, kw_only=True):
    """Interval data the vendor keeps: `window` is the longest span of one fetch_readings call."""

    resolution: Resolution
    window: timedelta
    reach: timedelta | None = None  # how far back; None: to the site's beginning
    settles_after: timedelta = timedelta(hours=48)  # younger rows may still be filled in or corrected


Per = Literal["second", "minute", "hour", "day", "month"]
Scope = Literal["app", "grant", "site"]


class Rate(Struct, frozen=True):
    """So many calls in so long, of the app, of each grant, or of each site. Days and months are of UTC."""

    number: int
    per: Per
    scope: Scope = "app"


class Limits(Struct, frozen=True, kw_only=True):
    """`calls` are all limits of calls; `calls_per_…` are the short way to say those of an app."""

    poll_every: timedelta
    live_max_age: timedelta = timedelta(minutes=5)  # older live power is fetched again when somebody asks
    max_concurrency: int = 4
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    calls_per_month: int | None = None
    calls: tuple[Rate, ...] = ()
    history: tuple[History, ...] = ()  # empty: no history; intervals come from polled counters

    def most(self, per: Per, scopes: tuple[Scope, ...] = ("app",)) -> int | None:
        """Returns the least of what is allowed in so long, of any of these; None without a limit."""
        short = {"minute": self.calls_per_minute, "day": self.calls_per_day, "month": self.calls_per_month}
        told = [rate.number for rate in self.calls if rate.per == per and rate.scope in scopes]
        if "app" in scopes and (most := short.get(per)) is not None:
            told.append(most)
        return min(told, default=None)

    def resolution(self, name: Resolution) -> History | None:
        return next((entry for entry in self.history if entry.resolution == name), None)


class OperatorAction(Struct, frozen=True, kw_only=True):
    """A step the operator takes once at the vendor with an app credential, such as registering a domain.

    `run` takes the context and the values of `fields`, and answers a sentence that tells the outcome; it raises
    joinder.errors. Running it twice must be harmless.
    """

    name: str
    label: str
    run: Callable[[Context, Mapping[str, str]], Awaitable[str]]
    help: str | None = None
    fields: tuple[Field, ...] = ()
    credential_types: tuple[str, ...] = ()  # empty: any type of the vendor


class ServedFile(Struct, frozen=True, kw_only=True):
    """A public file the vendor fetches from this server, put by the operator into JOINDER_PUBLIC_FILES."""

    path: str  # /.well-known/…; the file is looked up by its last part
    label: str
    media_type: str = "application/x-pem-file"
    starts_with: str = "-----BEGIN PUBLIC KEY-----"  # anything else is never served


class Vendor(Struct, frozen=True, kw_only=True):
    """One vendor. `name` equals the entry-point name and the API's vendor value."""

    name: str
    label: str
    docs_url: str
    contract: str = "1.0"  # the oldest that has all it uses: docs/contract.md
    flow: Flow  # of the owner; a credential type may say OPERATOR
    hosts: tuple[str, ...] = ()  # the only hosts ctx.http reaches, with ":port" where it is not 443
    device_access: Access | None = None  # ctx.device reaches an address the owner names, in allowed networks
    device_ports: tuple[int, ...] = ()  # the only ones there; empty: 443 where pinned, 80 where plain
    app_credentials: tuple[AppCredentialType, ...] = ()
    consent_fields: tuple[Field, ...] = ()  # FORM: what the owner enters
    consent_steps: tuple[str, ...] = ()  # FORM: the vendor's own steps to obtain it
    key_page: str | None = None  # FORM: the vendor's https page where the owner finds it, linked beside the steps
    texts: str | None = None  # package whose texts/LANGUAGE.toml translates what owners read of this vendor
    flow_fields: tuple[Field, ...] = ()  # options the operator sets on a join flow
    data_read: tuple[str, ...] = ()  # what owners are told is read; empty: what its capabilities say
    oauth2: OAuth2 | None = None
    grant_version: int = 1  # grows when a release stores other secrets or facts than the one before
    migrate: Migrate | None = None  # makes a grant of an earlier version one of this; pure
    refresh: Refresh = Refresh.NONE
    refresh_grace: timedelta | None = None  # ROTATING: how long the previous refresh token still works
    refresh_margin: timedelta = timedelta(minutes=10)  # refresh this long before expiry
    refresh_at_least_every: timedelta | None = None  # keeps idle grants alive
    operator_actions: tuple[OperatorAction, ...] = ()
    served_files: tuple[ServedFile, ...] = ()
    limits: Limits
    capabilities: Mapping[Capability, Support]
    compatible: bool = False  # True: clients of Derapi know this vendor by this name

    def support(self, capability: Capability) -> Support:
        """Returns what it says of a capability; of one it does not name, as it may be older: not yet."""
        return self.capabilities.get(capability, Support.NOT_YET)

    @property
    def asks_password(self) -> bool:
        """Tells whether an owner would type their own login at the vendor into our form."""
        return any(entry.password for entry in self.consent_fields)

    @property
    def reads(self) -> tuple[str, ...]:
        """Returns what owners are told is read of them."""
        return self.data_read or tuple(
            what for what, of in _READ.items() if any(self.support(one) is Support.YES for one in of)
        )

    @property
    def is_renewable(self) -> bool:
        """Tells whether core calls `refresh` before a grant ends."""
        return self.refresh in (Refresh.ROTATING, Refresh.REUSABLE)

    @property
    def reachable_ports(self) -> tuple[int, ...]:
        """Returns the ports of a device that ctx.device opens, the one it takes by itself first."""
        return self.device_ports or ((80,) if self.device_access == "plain" else (443,))

    @property
    def needs_app(self) -> bool:
        """Tells whether owners join only with app credentials, besides those that open sites by themselves."""
        return any(kind.flow is not Flow.OPERATOR for kind in self.app_credentials)

    def app_credential(self, type_name: str) -> AppCredentialType | None:
        return next((kind for kind in self.app_credentials if kind.type == type_name), None)

    def flow_with(self, type_name: str | None) -> Flow:
        """Tells how consent is obtained with app credentials of this type; None: without any."""
        kind = self.app_credential(type_name) if type_name is not None else None
        return kind.flow if kind is not None else self.flow

    def operator_action(self, name: str) -> OperatorAction | None:
        return next((action for action in self.operator_actions if action.name == name), None)


def is_redirect(vendor: Vendor, app: AppCredentials | None) -> bool:
    """Tells whether owners consent at the vendor, with this app."""
    kind = vendor.app_credential(app.type) if app else None
    return vendor.flow is Flow.REDIRECT and (kind is None or kind.flow is Flow.REDIRECT)


def endpoint_hosts(vendor: Vendor, app: AppCredentials | None) -> tuple[str, ...]:
    """Returns the hosts of the app's `endpoint` fields, as Vendor.hosts writes them."""
    kind = vendor.app_credential(app.type) if app else None
    if app is None or kind is None:
        return ()
    given = [app.secrets.get(entry.name) for entry in kind.fields if entry.endpoint]
    return tuple(dict.fromkeys(https_host(url) for url in given if url))


def checked_values(fields: Iterable[Field], given: Mapping[str, object]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the values that fit, trimmed, and what is wrong with the others and with members nobody declared."""
    declared = {entry.name: entry for entry in fields}
    problems = {name: "unknown member" for name in given if name not in declared}
    problems |= {name: problem for name, entry in declared.items() if (problem := entry.problem(given.get(name)))}
    values = {name: str(given[name]).strip() for name in declared if given.get(name) is not None}
    return {name: value for name, value in values.items() if name not in problems}, problems


def choices_problem(entry: Field) -> str | None:
    values = [value for value, _ in entry.choices]
    if len(values) > CHOICES_MOST:
        return f"{len(values)} choices; an owner looks through {CHOICES_MOST} at most"
    if any(not value.strip() or value != value.strip() or not label.strip() for value, label in entry.choices):
        return "a choice needs a value and a label, without blanks around the value"
    return "two choices have the same value" if len(set(values)) < len(values) else None


def _is_https(url: str) -> bool:
    try:
        return bool(https_host(url))
    except ValueError:
        return False


def https_host(url: str) -> str:
    """Returns `host` or `host:port` of an https URL. Raises ValueError for any other."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an https URL without user information")
    return parts.hostname if parts.port in (None, 443) else f"{parts.hostname}:{parts.port}"
