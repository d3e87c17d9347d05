"""What an answer of a vendor means for a grant, a site or an app: a table, read from top to bottom, first match wins.

Death needs proof: one answer never ends a consent. A second refusal minutes after the first does, unless many of the
vendor's grants are refused at once, which is the vendor's own trouble until a day has gone by.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from datetime import timedelta

from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    AuthorizationLost,
    DeviceIdentityChanged,
    NotSupported,
    OperatorActionNeeded,
    OutcomeUnknown,
    Paused,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.services.calls.call_refusals import BudgetSpent

PROOF_AFTER = timedelta(minutes=5)  # a second refusal counts only this long after the first
SITE_PROOF_AFTER = timedelta(days=1)  # of one site, while its enrollment's others are read
UNEXPLAINED_PROOF_AFTER = timedelta(days=1)


class Said(enum.Enum):
    """What was heard, whoever said it."""

    NOTHING = enum.auto()  # no call was made, or it concerns no grant
    TRY_AGAIN = enum.auto()
    CUT_OFF = enum.auto()  # in a renewal, or no token in its answer: the old one may have been spent
    NO_REASON = enum.auto()  # a 4xx of the token endpoint whose code means nothing here
    GRANT_REFUSED = enum.auto()
    APP_REFUSED = enum.auto()
    NOT_APPROVED = enum.auto()
    MUST_BE_MENDED = enum.auto()  # by the operator: nothing that a renewal or a consent changes


class Door(enum.Enum):
    """Where it was heard."""

    TOKEN = enum.auto()  # a renewal
    DATA = enum.auto()  # a poll, a read, a backfill
    QUESTION = enum.auto()  # about an approval
    JOIN = enum.auto()  # a code or a form of an owner


class Others(enum.Enum):
    """How the app's other grants (for a grant refused: the vendor's) fare since the first such answer."""

    UNKNOWN = enum.auto()
    WELL = enum.auto()
    REFUSED = enum.auto()  # so many at once that it is no owner's doing


class Verdict(enum.Enum):
    """What follows (`consequences` carries it out)."""

    SAYS_NOTHING = enum.auto()  # planned anew, nothing is noted
    PASSING = enum.auto()
    MAYBE_SPENT = enum.auto()  # passing, and the intent stays: this token may be spent
    PENDING = enum.auto()
    OPERATOR = enum.auto()
    GRANT_SUSPECTED = enum.auto()  # asked again in five minutes
    GRANT_DEAD = enum.auto()
    LOST_IN_FLIGHT = enum.auto()
    VENDORS_FAULT = enum.auto()
    SITE_SUSPECTED = enum.auto()
    SITE_WITHDRAWN = enum.auto()
    APP_SUSPECTED = enum.auto()
    APP_REFUSED = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One answer, and what is known beside it."""

    said: Said
    door: Door
    is_of_stored: bool = True  # what was sent (the grant's version, the app's secret) is what is stored
    is_proved: bool = False  # the same was said long enough ago, and nothing good since
    others: Others = Others.UNKNOWN
    can_be_spent: bool = True  # single-use, and not inside the vendor's grace
    follows_cut_off: bool = False  # an earlier exchange with this very token has no known outcome
    is_one_site: bool = False  # another site of the same enrollment is read, or was not asked since
    is_over: bool = False  # by its own date


@dataclass(frozen=True, kw_only=True)
class Rule:
    """None: whatever it is."""

    name: str
    verdict: Verdict
    said: Said | None = None
    door: Door | None = None
    is_of_stored: bool | None = None
    is_proved: bool | None = None
    others: Others | None = None
    can_be_spent: bool | None = None
    follows_cut_off: bool | None = None
    is_one_site: bool | None = None
    is_over: bool | None = None

    def fits(self, evidence: Evidence) -> bool:
        wanted = ((each.name, getattr(self, each.name)) for each in fields(evidence))
        return all(value is None or value == getattr(evidence, name) for name, value in wanted)


RULES: tuple[Rule, ...] = (
    Rule(name="nothing was asked", said=Said.NOTHING, verdict=Verdict.SAYS_NOTHING),
    Rule(name="passing trouble", said=Said.TRY_AGAIN, verdict=Verdict.PASSING),
    Rule(name="cut off, the token works on", said=Said.CUT_OFF, can_be_spent=False, verdict=Verdict.PASSING),
    Rule(name="cut off", said=Said.CUT_OFF, verdict=Verdict.MAYBE_SPENT),
    Rule(name="not approved yet", said=Said.NOT_APPROVED, verdict=Verdict.PENDING),
    Rule(name="the operator must mend it", said=Said.MUST_BE_MENDED, verdict=Verdict.OPERATOR),
    Rule(name="about what was replaced since", is_of_stored=False, verdict=Verdict.SAYS_NOTHING),
    # A refusal without a known reason, for a day, while others renew.
    Rule(name="unexplained for a day, others renew", said=Said.NO_REASON, is_proved=True, others=Others.WELL,
         verdict=Verdict.GRANT_DEAD),
    Rule(name="unexplained", said=Said.NO_REASON, verdict=Verdict.PASSING),
    # The app, unless it works for others: then it is this grant that the app may not use.
    Rule(name="app refused in a join, others renew", said=Said.APP_REFUSED, door=Door.JOIN, others=Others.WELL,
         verdict=Verdict.SAYS_NOTHING),
    Rule(name="app refused for one grant, twice", said=Said.APP_REFUSED, others=Others.WELL, is_proved=True,
         verdict=Verdict.GRANT_DEAD),
    Rule(name="app refused for one grant, once", said=Said.APP_REFUSED, others=Others.WELL,
         verdict=Verdict.GRANT_SUSPECTED),
    Rule(name="app refused twice", said=Said.APP_REFUSED, is_proved=True, verdict=Verdict.APP_REFUSED),
    Rule(name="app refused once", said=Said.APP_REFUSED, verdict=Verdict.APP_SUSPECTED),
    # The grant.
    Rule(name="over by its own date", is_over=True, verdict=Verdict.GRANT_DEAD),
    Rule(name="one site refused for a day", door=Door.DATA, is_one_site=True, is_proved=True,
         verdict=Verdict.SITE_WITHDRAWN),
    Rule(name="one site refused", door=Door.DATA, is_one_site=True, verdict=Verdict.SITE_SUSPECTED),
    Rule(name="grant refused once", is_proved=False, verdict=Verdict.GRANT_SUSPECTED),
    Rule(name="grant refused twice, with many others", others=Others.REFUSED, verdict=Verdict.VENDORS_FAULT),
    Rule(name="grant refused twice after a cut", door=Door.TOKEN, follows_cut_off=True, can_be_spent=True,
         verdict=Verdict.LOST_IN_FLIGHT),
    Rule(name="grant refused twice", verdict=Verdict.GRANT_DEAD),
)  # fmt: skip


def judge(evidence: Evidence) -> Rule:
    """Returns the first rule that fits; the last fits everything."""
    return next(rule for rule in RULES if rule.fits(evidence))


def heard(error: VendorError, door: Door) -> Said:
    """Says what an error tells of a grant, heard at that door."""
    said = next((said for kinds, said in _HEARD if isinstance(error, kinds)), Said.TRY_AGAIN)
    return Said.TRY_AGAIN if said is Said.CUT_OFF and door is not Door.TOKEN else said


_HEARD: tuple[tuple[type[VendorError] | tuple[type[VendorError], ...], Said], ...] = (
    ((BudgetSpent, NotSupported, Paused), Said.NOTHING),
    (Unexplained, Said.NO_REASON),
    ((OutcomeUnknown, UnexpectedPayload), Said.CUT_OFF),
    (AuthorizationLost, Said.GRANT_REFUSED),
    (AppCredentialsRejected, Said.APP_REFUSED),
    (ApprovalPending, Said.NOT_APPROVED),
    ((ApprovalRefused, OperatorActionNeeded, DeviceIdentityChanged), Said.MUST_BE_MENDED),
)
