"""Every failure a vendor can cause, classed by who must act.

The class alone decides HTTP status, enrollment health, retry and polling:

    VendorError                    actor      health              HTTP  retried
    ├─ TransientError              vendor     degraded            502   yes
    │  ├─ RateLimited              vendor     degraded            503   yes
    │  ├─ VendorTimeout            vendor     degraded            504   yes
    │  ├─ DeviceUnreachable        owner      degraded            504   yes
    │  ├─ Unexplained              vendor     degraded            502   yes   (a day of the same: needs_consent)
    │  └─ OutcomeUnknown           vendor     degraded            503   by the refresh service only
    ├─ UnexpectedPayload           operator   degraded            502   yes
    ├─ AuthorizationLost           owner      needs_consent       409   no
    ├─ ConsentDenied               owner      –                   403   no   (redirect, error=access_denied)
    ├─ ConsentInvalid              owner      –                   422   no   (the owner can correct a form)
    ├─ ConsentContinues            owner      –                   409   no   (no failure: the next form is shown)
    ├─ ApprovalPending             vendor     pending_approval    409   later
    ├─ Paused                      operator   –                   409   no   (until it is resumed)
    ├─ ApprovalRefused             operator   operator_action     409   no
    ├─ AppCredentialsRejected      operator   operator_action     502   no   (health of all grants of that app)
    ├─ OperatorActionNeeded        operator   operator_action     502   no
    │  └─ ConsentIncomplete        operator   operator_action     502   no   (the app's scopes or registration)
    ├─ DeviceIdentityChanged       operator   operator_action     502   no
    ├─ SiteGone                    owner      –                   410   no   (until a consent lists it again)
    ├─ NotSupported                nobody     –                   422   no
    ├─ UnknownVendor               operator   degraded            502   when its plugin is back
    └─ PluginBug                   operator   degraded            500   yes, then quarantined

The text is one sentence for the person who must act. It reaches owners, API clients and logs, so it never holds
a vendor's text, a URL or a secret; `detail` may hold a redacted fragment for the operator, `code` an OAuth error's name
out of those this package knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Literal

from joinder.clean import clean_line
from joinder.redact import Secrets, redact

if TYPE_CHECKING:
    from joinder.vendor import Field

Actor = Literal["owner", "operator", "vendor", "nobody"]
HealthState = Literal[
    "ok",
    "connecting",
    "pending_approval",
    "degraded",
    "suspected",
    "needs_consent",
    "operator_action",
    "lost_in_flight",
    "quarantined",
]


class VendorError(Exception):
    """Base of all; raise one of its subclasses."""

    actor: ClassVar[Actor] = "operator"
    health: ClassVar[HealthState | None] = "degraded"
    status: ClassVar[int] = 502
    problem: ClassVar[str] = "vendor-error"

    code: str | None = None
    retry_after: timedelta | None = None

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(clean_line(redact(message)))
        self.detail = clean_line(redact(detail))[:500] if detail else None


class TransientError(VendorError):
    """Try again later: 5xx, connection refused, TLS trouble, nonsense from a proxy."""

    actor: ClassVar[Actor] = "vendor"
    problem = "vendor-unavailable"

    def __init__(self, message: str, *, retry_after: timedelta | None = None, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class RateLimited(TransientError):
    """The vendor, or our own budget for its app, allows no call now."""

    status = 503
    problem = "vendor-rate-limited"


class VendorTimeout(TransientError):
    """No complete answer inside the deadline."""

    status = 504
    problem = "vendor-timeout"


class DeviceUnreachable(TransientError):
    """A device in the owner's home does not answer: asleep, unplugged, moved."""

    actor = "owner"
    status = 504
    problem = "device-unreachable"


class Unexplained(TransientError):
    """A token endpoint refuses without a reason that is known. `code` is what it said, fit to be shown and compared."""

    problem = "vendor-refusal-unexplained"

    def __init__(self, message: str, *, code: str = "", detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.code = clean_line(redact(code))[:60]


class OutcomeUnknown(TransientError):
    """A token call was cut off after it may have been sent; the vendor may have rotated the token."""

    status = 503
    problem = "vendor-outcome-unknown"


class UnexpectedPayload(VendorError):
    """The answer does not decode: HTML, cut JSON, other types than documented."""

    problem = "vendor-unexpected-answer"


class AuthorizationLost(VendorError):
    """The vendor no longer accepts this grant (`invalid_grant`, key revoked, token expired)."""

    actor = "owner"
    health = "needs_consent"
    status = 409
    problem = "authorization-lost"


class ConsentDenied(VendorError):
    """The owner said no."""

    actor = "owner"
    health = None
    status = 403
    problem = "consent-denied"


class ConsentInvalid(VendorError):
    """What the owner entered cannot work; `fields` names the inputs to correct (form field name → sentence)."""

    actor = "owner"
    health = None
    status = 422
    problem = "consent-invalid"

    def __init__(self, message: str, *, fields: dict[str, str] | None = None, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.fields = {name: redact(text) for name, text in (fields or {}).items()}


class ConsentContinues(VendorError):
    """The vendor asks the owner something more: a code it sent, which of several sites. Of handle_callback alone.

    The text is the question. `fields` are the next form's; `carry`, sealed meanwhile, comes back as `callback.carried`
    with what is entered.
    """

    actor = "owner"
    health = None
    status = 409
    problem = "consent-continues"

    def __init__(
        self, question: str, *, fields: tuple[Field, ...] = (), carry: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(question)
        self.fields = fields
        self.carry = Secrets(carry or {})


class ApprovalPending(VendorError):
    """The vendor has not yet approved this enrollment."""

    actor = "vendor"
    health = "pending_approval"
    status = 409
    problem = "approval-pending"


class Paused(VendorError):
    """The operator paused this enrollment: its token is kept alive, nothing is read."""

    health = None
    status = 409
    problem = "paused"


class ApprovalRefused(VendorError):
    """The vendor decided against this enrollment: rejected, withdrawn, or never possible for this site."""

    health = "operator_action"
    status = 409
    problem = "approval-refused"


class OperatorActionNeeded(VendorError):
    """The operator must do something other than correct the app's credentials: register the app, set the clock,
    move to another API because the vendor retired this one. The text says what."""

    health = "operator_action"
    problem = "operator-action-needed"


class ConsentIncomplete(OperatorActionNeeded):
    """The vendor gave less for a consent than its grants need, such as no refresh token; the text says what."""

    problem = "consent-incomplete"


class AppCredentialsRejected(VendorError):
    """The vendor refuses the operator's app (`invalid_client`, app key): every grant of that app is affected."""

    health = "operator_action"
    problem = "app-credentials-rejected"


class DeviceIdentityChanged(VendorError):
    """A device shows another TLS certificate than the pinned one: nothing was sent to it."""

    health = "operator_action"
    problem = "device-identity-changed"


class SiteGone(VendorError):
    """No grant opens this site any more: nothing is read, what is stored is served."""

    actor = "owner"
    health = None
    status = 410
    problem = "site-gone"


class NotSupported(VendorError):
    """The vendor, or this account's plan with it, has no such data."""

    actor = "nobody"
    health = None
    status = 422
    problem = "not-supported"


class UnknownVendor(VendorError):
    """No working plugin has this name: it was removed, disabled, or does not load."""

    problem = "vendor-not-installed"


class PluginBug(VendorError):
    """The plugin broke its contract: wrong type, unexpected exception, no answer."""

    status = 500
    problem = "plugin-bug"
