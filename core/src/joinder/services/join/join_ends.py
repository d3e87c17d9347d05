"""Why an owner's way through a join ended: every reason as data, and its place on the session.

`code` is stable: integrators and alerts match on it. A session is kept for 30 days after its end, without secrets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import (
    Actor,
    AppCredentialsRejected,
    ApprovalRefused,
    AuthorizationLost,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    DeviceUnreachable,
    NotSupported,
    PluginBug,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    UnknownVendor,
    VendorError,
    VendorTimeout,
)
from joinder.services.join.redirects import with_result
from joinder.services.records import events

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.store.tables import JoinSession


AGAIN_AFTER_S = 5


class JoinRefused(Exception):
    """The owner cannot go on here, and reads why on a page. `code` is one of ENDS."""

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        restart_url: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status or ENDS[code].status
        self.restart_url = restart_url
        self.retry_after_s = AGAIN_AFTER_S if code == "still_running" else retry_after_s
        self.account_id: str | None = None  # who asked for the consent
        self.vendor: str | None = None
        self.way_back: str | None = None
        self.locale: str | None = None

    def about(self, row: JoinSession) -> JoinRefused:
        """Says whose session it was, so that the page can tell who asked, in which language."""
        self.account_id, self.vendor, self.locale = row.account_id, row.vendor, row.locale
        return self

    def asked_by(self, account_id: str, *, vendor: str | None = None, way_back: str | None = None) -> JoinRefused:
        """Says who asked where there is no session yet, or none any more."""
        self.account_id, self.vendor, self.way_back = account_id, vendor, way_back
        return self


class WrongAccount(ConsentDenied):
    """Somebody consented, but not whose consent was asked for."""


class IssuerMismatch(VendorError):
    """The answer is not, or does not prove to be, of the vendor that was asked (RFC 9207)."""

    health = None


@dataclass(frozen=True, kw_only=True)
class End:
    """One way to end. `words` name it in a list, `text` tells it.

    `status` is the page's; `error` (RFC 6749 §4.1.2.1) goes to the integrator in place of a page.
    """

    actor: Actor
    words: str
    text: str
    status: int = 400
    error: str | None = None
    is_success: bool = False


def _good(words: str, text: str, actor: Actor = "nobody") -> End:
    return End(actor=actor, words=words, text=text, status=303, is_success=True)


ENDS: dict[str, End] = {
    "joined": _good("joined", "The owner connected the system."),
    "sites_later": _good(
        "joined, sites come later", "The owner's grant is stored; the vendor's list of sites comes later.", "vendor"
    ),
    "pending_approval": _good("the vendor decides later", "The owner consented; the vendor decides later.", "vendor"),
    "user_denied": End(
        actor="owner",
        words="the owner said no",
        text="The owner said no, or did not finish.",
        status=403,
        error="access_denied",
    ),
    "wrong_account": End(
        actor="owner",
        words="another account consented",
        text="Another account consented than the link is for.",
        status=403,
        error="access_denied",
    ),
    "wrong_entries": End(
        actor="owner", words="wrong entries", text="What the owner entered does not work.", status=422
    ),
    "too_many_tries": End(
        actor="owner", words="five tries failed", text="The form was sent five times without success."
    ),
    "session_expired": End(
        actor="owner", words="not finished in time", text="The owner did not finish within 30 minutes."
    ),
    "wrong_browser": End(
        actor="owner",
        words="back in another browser",
        text="The owner came back in another browser than the one of the start.",
    ),
    "unfinished": End(
        actor="owner",
        words="not back from the vendor",
        text="The owner has begun, and not come back from the vendor yet.",
    ),
    "link_used": End(
        actor="owner", words="page opened again", text="The step was over when its page was opened again."
    ),
    "link_invalid": End(
        actor="operator",
        words="link incomplete or changed",
        text="The link is incomplete, changed, or was not made here.",
    ),
    "link_expired": End(actor="operator", words="link too old", text="The link's time is over; make a new one."),
    "flow_gone": End(
        actor="operator", words="flow deleted", text="The join flow is deleted, or was never here.", status=404
    ),
    "connection_ended": End(
        actor="nobody", words="enrollment has ended", text="The enrollment of the owner's link has ended.", status=404
    ),
    "vendor_not_offered": End(
        actor="operator", words="vendor not in the flow", text="The link names a vendor that the flow does not offer."
    ),
    "state_too_long": End(
        actor="operator",
        words="state of the link too long",
        text="The link's state is longer than 1,024 characters, or its reference than 256.",
    ),
    "interrupted": End(
        actor="owner",
        words="server stopped meanwhile",
        text="The server stopped before the vendor's answer was stored; start again.",
    ),
    "still_running": End(
        actor="nobody",
        words="vendor still at it",
        text="The vendor has not answered yet; load the page again.",
        status=503,
    ),
    "slow_down": End(
        actor="nobody",
        words="too many at once",
        text="Too many ask at once; load the page again after a while.",
        status=429,
    ),
    "app_changed": End(
        actor="owner",
        words="app changed meanwhile",
        text="The app's credentials changed meanwhile; start again.",
        status=409,
    ),
    "app_refused": End(
        actor="operator",
        words="app secret refused",
        text="The vendor refuses the app's credentials.",
        status=503,
        error="server_error",
    ),
    "scope_missing": End(
        actor="operator",
        words="app lacks a scope",
        text="The consent lacks what the vendor must give; look at the app's scopes and registration.",
        status=502,
        error="server_error",
    ),
    "issuer_mismatch": End(
        actor="operator",
        words="answer of another vendor",
        text="The answer does not come from the vendor that was asked.",
        error="server_error",
    ),
    "operator_action": End(
        actor="operator",
        words="app needs work there",
        text="The operator must do something at the vendor.",
        status=502,
        error="server_error",
    ),
    "vendor_missing": End(
        actor="operator",
        words="plugin not installed",
        text="The vendor's plugin is not installed.",
        status=502,
        error="server_error",
    ),
    "plugin_bug": End(
        actor="operator",
        words="plugin broke its contract",
        text="The vendor's plugin broke its contract.",
        status=500,
        error="server_error",
    ),
    "vendor_answer": End(
        actor="operator",
        words="vendor answers otherwise",
        text="The vendor answered what its documentation does not say.",
        status=502,
        error="server_error",
    ),
    "store_unavailable": End(
        actor="operator",
        words="database away",
        text="The database of this server cannot be used now; try again later.",
        status=503,
        error="temporarily_unavailable",
    ),
    "internal_error": End(
        actor="operator",
        words="error: see the log",
        text="Look into the server's log.",
        status=500,
        error="server_error",
    ),
    "code_refused": End(
        actor="owner",
        words="code refused",
        text="The vendor refused the authorization code; start again.",
        status=422,
        error="server_error",
    ),
    "consent_unusable": End(
        actor="owner",
        words="nothing there to read",
        text="The consent opens nothing that can be read, such as an account without a site.",
        status=422,
        error="server_error",
    ),
    "vendor_declined": End(
        actor="vendor",
        words="the vendor said no",
        text="The vendor decided against the enrollment.",
        status=409,
        error="server_error",
    ),
    "vendor_unavailable": End(
        actor="vendor",
        words="vendor away",
        text="The vendor could not be reached; try again later.",
        status=503,
        error="temporarily_unavailable",
    ),
    "vendor_rate_limited": End(
        actor="vendor",
        words="limit of calls reached",
        text="The vendor allows no more calls for now.",
        status=503,
        error="temporarily_unavailable",
    ),
    "vendor_timeout": End(
        actor="vendor",
        words="vendor too slow",
        text="The vendor did not answer in time.",
        status=504,
        error="temporarily_unavailable",
    ),
    "device_unreachable": End(
        actor="owner",
        words="device does not answer",
        text="The owner's device does not answer.",
        status=503,
        error="temporarily_unavailable",
    ),
}
APP_AT_FAULT = tuple(code for code, end in ENDS.items() if end.actor == "operator" and end.error is not None)
SUCCESSES = tuple(code for code, end in ENDS.items() if end.is_success)
_BY_CLASS: tuple[tuple[type[VendorError], str], ...] = (  # the first that fits
    (WrongAccount, "wrong_account"),
    (ConsentDenied, "user_denied"),
    (IssuerMismatch, "issuer_mismatch"),
    (ConsentIncomplete, "scope_missing"),
    (AppCredentialsRejected, "app_refused"),
    (RateLimited, "vendor_rate_limited"),
    (VendorTimeout, "vendor_timeout"),
    (DeviceUnreachable, "device_unreachable"),
    (TransientError, "vendor_unavailable"),
    (UnexpectedPayload, "vendor_answer"),
    (PluginBug, "plugin_bug"),
    (UnknownVendor, "vendor_missing"),
    (ApprovalRefused, "vendor_declined"),
    (VendorError, "operator_action"),
)


def words_of(code: str) -> str:
    """Names an end for a reader; one that a later version knows alone, as well as its code does."""
    return ENDS[code].words if code in ENDS else code.replace("_", " ")


def code_of(error: VendorError, *, is_form: bool = False, is_kept: bool = False) -> str:
    """Tells which end an error means.

    `is_kept`: the code was exchanged, so the consent itself is what does not work.
    """
    if isinstance(error, ConsentInvalid | AuthorizationLost | NotSupported):
        return "wrong_entries" if is_form else "consent_unusable" if is_kept else "code_refused"
    return next(code for kind, code in _BY_CLASS if isinstance(error, kind))


def text_of(error: VendorError) -> str:
    """Returns the error's sentence, with the OAuth error it came by where that is known."""
    return f"{error} ({error.code})" if error.code else str(error)


def write(hub: Hub, session: AsyncSession, row: JoinSession, code: str, text: str | None = None) -> None:
    """Ends the session: its secrets go, a failure is told. Part of the change's own transaction."""
    end = ENDS[code]
    row.ended_at = now()
    row.end_code, row.end_text = code, text or end.text
    row.secrets_sealed = b""
    if code != "sites_later":
        row.kept_sealed = None
    hub.metrics.joined(row.vendor, code)
    if not end.is_success:
        events.write(session, row.account_id, "join.failed", _told(row, end))


def _told(row: JoinSession, end: End) -> dict[str, object]:
    data = {
        "vendor": row.vendor,
        "flowID": row.flow_id or None,
        "enrollmentID": row.enrollment_id or row.reconnects_id,
        "reference": row.client_reference,
        "state": row.client_state,
        "code": row.end_code,
        "reason": row.end_text,
        "actor": end.actor,
    }
    return {name: value for name, value in data.items() if value is not None}


def target(row: JoinSession, restart_url: str) -> str:
    """Tells where an ended session leads, however often it is asked. Raises JoinRefused where a page says it."""
    code = row.end_code or "joined"  # an earlier version's session has no code
    end = ENDS[code]
    if end.is_success and row.enrollment_id is not None:
        return with_result(row.client_redirect_uri, state=row.client_state, enrollmentID=row.enrollment_id)
    if end.error is None:
        raise JoinRefused(code, restart_url=restart_url).about(row)
    return with_result(
        row.client_redirect_uri,
        state=row.client_state,
        error=end.error,
        error_description=row.end_text or end.text,
        error_code=code,
    )


def count_refusal(hub: Hub, vendor: str | None, code: str) -> None:
    """Counts the refusal of a request that ends no session, such as one from another browser."""
    hub.metrics.joined(vendor or "unknown", code)
