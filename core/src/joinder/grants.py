"""What moves between core and a plugin around consent. Every repr is free of secrets."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from joinder.redact import Secrets

if TYPE_CHECKING:
    from joinder.http import DeviceHttp, Http


class GrantState(enum.StrEnum):
    """PENDING_APPROVAL: the vendor decides later. Core then calls `refresh` from time to time, which asks the vendor
    once and answers the grant as it now is (ACTIVE, or still pending), or raises ApprovalRefused."""

    ACTIVE = "active"
    PENDING_APPROVAL = "pending_approval"


@dataclass(frozen=True, kw_only=True)
class AppCredentials:
    """The operator's app at the vendor; `secrets` holds every field of its AppCredentialType by wire name."""

    type: str
    secrets: Secrets

    def __getitem__(self, name: str) -> str:
        return self.secrets[name]


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What the vendor handed over for one owner (or one operator account). Times are aware."""

    secrets: Secrets
    facts: Mapping[str, str] = field(default_factory=dict)  # not secret: a device's address, serial, firmware
    expires_at: datetime | None = None  # of the access token
    refresh_expires_at: datetime | None = None
    site_ids: tuple[str, ...] = ()  # the vendor's ids of the sites it opens
    state: GrantState = GrantState.ACTIVE
    made_as: int = 1  # core's to fill: the Vendor.grant_version its secrets and facts are of


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Outcome of handle_callback. `account_id` is the vendor's id of the consenting account, where it says one."""

    grant: Grant
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuthorizeRequest:
    """Made by core; a plugin carries `state`, `redirect_uri` and `code_challenge` into the URL unchanged."""

    state: str = field(repr=False)
    redirect_uri: str
    code_challenge: str | None = None  # S256; set when the vendor declares PKCE


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a vendor gave for a code, which works once: tokens, and whatever else its answer said."""

    secrets: Secrets
    said: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None  # of the access token


Keep = Callable[[Kept], Awaitable[None]]


async def _kept_nowhere(_: Kept) -> None:
    """Keeps nothing, for callbacks that no owner waits behind."""


@dataclass(frozen=True, kw_only=True)
class Callback:
    """What came back: the vendor's query parameters (REDIRECT), the form's values (FORM), nothing (OPERATOR).

    `keep` puts what a code was exchanged for on disk; joinder.oauth calls it before anything else is asked. When the
    hook fails in passing after that, it is called again later, with `kept` in place of the code.
    """

    values: Secrets
    redirect_uri: str | None = None
    code_verifier: str | None = field(default=None, repr=False)
    kept: Kept | None = None
    keep: Keep = field(default=_kept_nowhere, repr=False)
    carried: Secrets | None = None  # of ConsentContinues, when `values` answer its question


class DeviceAccess(Protocol):
    """Opens a device in the owner's network: guarded address, TLS pinned inside the handshake (joinder.http).

    `port`: one of Vendor.device_ports, the first where none is named.
    """

    def __call__(self, address: str, *, pin_sha256: str | None = None, port: int | None = None) -> DeviceHttp: ...


@dataclass(frozen=True, kw_only=True)
class MachineToken:
    """A token of the app itself (client credentials). `expires_at` is aware; None: unknown, kept for five minutes."""

    value: str = field(repr=False)
    expires_at: datetime | None = None


class AppTokens(Protocol):
    """Core keeps one token per app: `fetch` runs only when there is none, it ends soon, or it is the `refused` one.

    Callers at the same time share one fetch. Answers the token's value.
    """

    async def __call__(self, fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str: ...


class GrantTokens(Protocol):
    """Core keeps one session token per grant, made of its key: as AppTokens does, for one grant alone."""

    async def __call__(self, fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str: ...


async def _asked_each_time(fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str:
    """Keeps nothing: there is no grant yet."""
    return (await fetch()).value


@dataclass(frozen=True, kw_only=True)
class Context:
    """What core lends to a hook call."""

    http: Http  # declared hosts only, deadlines and redaction built in
    device: DeviceAccess
    app: AppCredentials | None
    app_token: AppTokens  # the app's own token, where the vendor knows one
    options: Mapping[str, str]  # the join flow's values for Vendor.flow_fields
    now: Callable[[], datetime]  # aware, UTC; tests move it
    log: logging.Logger
    grant_token: GrantTokens = _asked_each_time  # a session made of the grant's own key; of hooks that are given one

    def require_app(self) -> AppCredentials:
        """Returns the app credential of a vendor that declares one; core always passes it there.

        Raises LookupError where there is none.
        """
        if self.app is None:
            raise LookupError("this vendor's flow names no app credential")
        return self.app
