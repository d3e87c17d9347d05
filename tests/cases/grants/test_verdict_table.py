"""The table of verdicts: an HTTP answer or an error, what is known beside it, and what it means. One row, one test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    AuthorizationLost,
    DeviceIdentityChanged,
    DeviceUnreachable,
    NotSupported,
    OperatorActionNeeded,
    OutcomeUnknown,
    Paused,
    PluginBug,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.http import Answer
from joinder.oauth import token_error
from joinder.services.calls.breakers import BreakerOpen
from joinder.services.calls.budgets import BudgetSpent
from joinder.services.grants.verdict import RULES, Door, Evidence, Others, Said, Verdict, heard, judge

PASSING, SUSPECTED, DEAD = Verdict.PASSING, Verdict.GRANT_SUSPECTED, Verdict.GRANT_DEAD
LOST, FAULT, NOTHING = Verdict.LOST_IN_FLIGHT, Verdict.VENDORS_FAULT, Verdict.SAYS_NOTHING
APP_SUSPECTED, APP_REFUSED = Verdict.APP_SUSPECTED, Verdict.APP_REFUSED
INVALID_GRANT = b'{"error": "invalid_grant"}'
INVALID_CLIENT = b'{"error": "invalid_client", "error_description": "x"}'
HTML = b"<html><body>error=invalid_grant</body></html>"


@dataclass(frozen=True)
class Row:
    name: str
    heard: tuple[int, bytes] | VendorError  # of a token endpoint, or as a plugin raises it
    means: Verdict
    door: Door = Door.TOKEN
    is_of_stored: bool = True
    is_proved: bool = False
    others: Others = Others.UNKNOWN
    can_be_spent: bool = True
    follows_cut_off: bool = False
    is_one_site: bool = False
    is_over: bool = False

    @property
    def error(self) -> VendorError:
        if isinstance(self.heard, VendorError):
            return self.heard
        status, body = self.heard
        return token_error(Answer(status=status, headers={}, content=body, place="POST vendor.example/token"))

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            said=heard(self.error, self.door),
            door=self.door,
            is_of_stored=self.is_of_stored,
            is_proved=self.is_proved,
            others=self.others,
            can_be_spent=self.can_be_spent,
            follows_cut_off=self.follows_cut_off,
            is_one_site=self.is_one_site,
            is_over=self.is_over,
        )


def _token(name: str, status: int, body: bytes, means: Verdict, **more: object) -> Row:
    return Row(name, (status, body), means, **more)  # type: ignore[arg-type]


def _data(name: str, error: VendorError, means: Verdict, **more: object) -> Row:
    return Row(name, error, means, door=Door.DATA, **more)  # type: ignore[arg-type]


LOSS, DENIAL = AuthorizationLost("The consent is gone"), AppCredentialsRejected("The app is refused")
TABLE = (
    # The form of a refusal never matters, its code does.
    _token("400 invalid_grant", 400, INVALID_GRANT, SUSPECTED),
    _token("401 invalid_grant", 401, INVALID_GRANT, SUSPECTED),
    _token("403 invalid_grant", 403, INVALID_GRANT, SUSPECTED),
    _token("200 with invalid_grant in it", 200, INVALID_GRANT, SUSPECTED),
    _token("invalid_grant in a form", 400, b"error=invalid_grant&error_description=gone+away", SUSPECTED),
    _token("invalid_grant in an object", 400, b'{"error": {"code": "invalid_grant", "message": "m"}}', SUSPECTED),
    _token("invalid_grant under a number", 400, b'{"error": {"code": 400, "type": "invalid_grant"}}', SUSPECTED),
    _token("invalid_grant after a byte order mark", 400, b"\xef\xbb\xbf" + INVALID_GRANT, SUSPECTED),
    _token("INVALID_GRANT", 400, b'{"ERROR": "INVALID_GRANT"}', SUSPECTED),
    _token("invalid_token", 401, b'{"error":"invalid_token"}', SUSPECTED),
    # Nothing proves nothing: a gateway, a proxy, an empty body.
    _token("401 in HTML", 401, HTML, PASSING),
    _token("401 and nothing", 401, b"", PASSING),
    _token("403 in HTML", 403, HTML, PASSING),
    _token("404 in HTML", 404, HTML, PASSING),
    _token("400 in words", 400, b"Bad Request", PASSING),
    _token("400 with a null error", 400, b'{"error": null}', PASSING),
    _token("400 with a number for an error", 400, b'{"error": 7}', PASSING),
    _token("400 with a sentence for an error", 400, b'{"error": "Something went wrong"}', PASSING),
    _token("405", 405, b"", PASSING),
    _token("408", 408, INVALID_GRANT, PASSING),
    _token("425", 425, b"", PASSING),
    _token("429", 429, b"", PASSING),
    _token("429 with invalid_grant", 429, INVALID_GRANT, PASSING),
    _token("500 with invalid_grant", 500, INVALID_GRANT, PASSING),
    _token("502 in HTML", 502, HTML, PASSING),
    _token("503 with invalid_client", 503, INVALID_CLIENT, PASSING),
    _token("400 server_error", 400, b'{"error": "server_error"}', PASSING),
    _token("200 with temporarily_unavailable", 200, b'{"error": "temporarily_unavailable"}', PASSING),
    _token("302", 302, b"", Verdict.MAYBE_SPENT),
    _token("200 in HTML", 200, HTML, Verdict.MAYBE_SPENT),
    _token("200 in HTML, a reusable token", 200, HTML, PASSING, can_be_spent=False),
    Row("cut off after it was sent", OutcomeUnknown("cut"), Verdict.MAYBE_SPENT),
    Row("cut off, inside the grace", OutcomeUnknown("cut"), PASSING, can_be_spent=False),
    Row("an unreadable answer", UnexpectedPayload("nonsense"), Verdict.MAYBE_SPENT),
    # The same refusal without a reason.
    _token("invalid_request", 400, b'{"error": "invalid_request"}', PASSING),
    _token("invalid_request for a day", 400, b'{"error": "invalid_request"}', PASSING, is_proved=True),
    _token("invalid_request for a day, others renew", 400, b'{"error": "invalid_request"}', DEAD,
           is_proved=True, others=Others.WELL),
    _token("invalid_request for an hour, others renew", 400, b'{"error": "invalid_request"}', PASSING,
           others=Others.WELL),
    _token("401 in HTML for a day, others renew", 401, HTML, DEAD, is_proved=True, others=Others.WELL),
    # Death needs proof.
    _token("invalid_grant twice", 400, INVALID_GRANT, DEAD, is_proved=True),
    _token("invalid_grant twice, so have many", 400, INVALID_GRANT, FAULT, is_proved=True, others=Others.REFUSED),
    _token("invalid_grant of a token replaced since", 400, INVALID_GRANT, NOTHING, is_of_stored=False),
    _token("invalid_grant twice of a token replaced since", 400, INVALID_GRANT, NOTHING, is_of_stored=False,
           is_proved=True),
    _token("invalid_grant after a cut", 400, INVALID_GRANT, SUSPECTED, follows_cut_off=True),
    _token("invalid_grant twice after a cut", 400, INVALID_GRANT, LOST, follows_cut_off=True, is_proved=True),
    _token("invalid_grant twice after a cut, so have many", 400, INVALID_GRANT, FAULT, follows_cut_off=True,
           is_proved=True, others=Others.REFUSED),
    _token("invalid_grant twice after a cut, a reusable token", 400, INVALID_GRANT, DEAD, follows_cut_off=True,
           is_proved=True, can_be_spent=False),
    # The app.
    _token("400 invalid_client", 400, INVALID_CLIENT, APP_SUSPECTED),
    _token("401 invalid_client", 401, INVALID_CLIENT, APP_SUSPECTED),
    _token("401 invalid_client in a form", 401, b"error=invalid_client", APP_SUSPECTED),
    _token("unauthorized_client", 400, b'{"error": "unauthorized_client"}', APP_SUSPECTED),
    _token("invalid_client twice", 401, INVALID_CLIENT, APP_REFUSED, is_proved=True),
    _token("invalid_client for a secret replaced since", 401, INVALID_CLIENT, NOTHING, is_of_stored=False),
    _token("invalid_client twice, for a secret replaced since", 401, INVALID_CLIENT, NOTHING, is_of_stored=False,
           is_proved=True),
    _token("unauthorized_client for one grant", 400, b'{"error": "unauthorized_client"}', SUSPECTED,
           others=Others.WELL),
    _token("unauthorized_client for one grant, twice", 400, b'{"error": "unauthorized_client"}', DEAD,
           others=Others.WELL, is_proved=True),
    Row("invalid_client in a join", DENIAL, APP_SUSPECTED, door=Door.JOIN),
    Row("invalid_client in a join, twice", DENIAL, APP_REFUSED, door=Door.JOIN, is_proved=True),
    Row("invalid_client in a join, others renew", DENIAL, NOTHING, door=Door.JOIN, others=Others.WELL),
    Row("invalid_client in a question", DENIAL, APP_SUSPECTED, door=Door.QUESTION),
    # The vendor's data.
    _data("data refused", LOSS, SUSPECTED),
    _data("data refused twice", LOSS, DEAD, is_proved=True),
    _data("data refused twice, so are many", LOSS, FAULT, is_proved=True, others=Others.REFUSED),
    _data("data refused for an older token", LOSS, NOTHING, is_of_stored=False),
    _data("one site refused", LOSS, Verdict.SITE_SUSPECTED, is_one_site=True),
    _data("one site refused for a day", LOSS, Verdict.SITE_WITHDRAWN, is_one_site=True, is_proved=True),
    _data("one site of a grant that is over", LOSS, DEAD, is_one_site=True, is_over=True),
    _data("a token over by its own date", LOSS, DEAD, is_over=True),
    _data("a cut is no refused renewal", LOSS, DEAD, is_proved=True, follows_cut_off=True),
    _data("the app's key refused", DENIAL, APP_SUSPECTED),
    _data("the app's key refused twice", DENIAL, APP_REFUSED, is_proved=True),
    _data("the app's key refused, it reads others", DENIAL, SUSPECTED, others=Others.WELL),
    _data("503 for data", TransientError("away"), PASSING),
    _data("504 for data", VendorTimeout("late"), PASSING),
    _data("429 for data", RateLimited("slower", retry_after=timedelta(minutes=1)), PASSING),
    _data("a gateway that sleeps", DeviceUnreachable("asleep"), PASSING),
    _data("HTML for data", UnexpectedPayload("HTML"), PASSING),
    _data("a plugin's bug", PluginBug("TypeError"), PASSING),
    _data("the breaker is open", BreakerOpen("soon"), PASSING),
    _data("no call was left", BudgetSpent("tomorrow"), NOTHING),
    _data("the vendor has no such data", NotSupported("none"), NOTHING),
    _data("paused", Paused("by hand"), NOTHING),
    _data("402", OperatorActionNeeded("pay"), Verdict.OPERATOR),
    _data("another certificate", DeviceIdentityChanged("pinned"), Verdict.OPERATOR),
    Row("not approved yet", ApprovalPending("wait"), Verdict.PENDING, door=Door.QUESTION),
    Row("approval refused", ApprovalRefused("no"), Verdict.OPERATOR, door=Door.QUESTION),
    Row("a pending grant refused", LOSS, SUSPECTED, door=Door.QUESTION),
    Row("a pending grant refused twice", LOSS, DEAD, door=Door.QUESTION, is_proved=True),
)  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    assert judge(row.evidence).verdict is row.means


def test_every_rule_decides_a_row_and_none_of_the_sixty_is_written_twice() -> None:
    decided = {judge(row.evidence).name for row in TABLE}
    assert decided == {rule.name for rule in RULES}
    assert len({row.name for row in TABLE}) == len(TABLE) >= 60
    print(f"\n{len(TABLE)} rows, {len(RULES)} rules, {len({row.means for row in TABLE})} verdicts of {len(Verdict)}")


ENDS = (DEAD, LOST, APP_REFUSED, Verdict.SITE_WITHDRAWN)


@pytest.mark.parametrize("door", Door)
@pytest.mark.parametrize("said", Said)
def test_nothing_ends_without_proof(said: Said, door: Door) -> None:
    """Whatever else is known: an end needs the second refusal, or the date the vendor gave."""
    for others in Others:
        for bits in range(16):
            evidence = Evidence(
                said=said,
                door=door,
                others=others,
                is_of_stored=bool(bits & 1),
                can_be_spent=bool(bits & 2),
                follows_cut_off=bool(bits & 4),
                is_one_site=bool(bits & 8),
            )
            assert judge(evidence).verdict not in ENDS
            many = replace(evidence, is_proved=True, others=Others.REFUSED)
            assert judge(many).verdict not in (DEAD, LOST)
            stale = replace(evidence, is_proved=True, is_of_stored=False)
            assert judge(stale).verdict not in (DEAD, LOST, APP_REFUSED)
