"""What Enphase Grid Services means when it says no: 196 documented texts, classed by who must act.

Source: the vendor's OpenAPI document 1.1.0 (vpp.enphaseenergy.com/auth/getApiSpec). Its examples are not valid JSON
(trailing commas, quotes inside strings), so bodies are searched as text. `errorRefNo` is what the vendor's support
asks for; it goes into `detail`.
"""

from __future__ import annotations

import re

import joinder_enphase.api
from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    ConsentInvalid,
    NotSupported,
    OperatorActionNeeded,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer, raise_for_status


class MachineTokenRefused(AppCredentialsRejected):
    """401 of the app's own token: a fresh one may do."""


class NotEnrolled(ApprovalPending):
    """403 of a site before its approval, and after it has left the programme: only its application tells which."""


class AlreadySubmitted(VendorError):
    """An application for this site exists."""


class AlreadyEnrolled(ApprovalRefused):
    """The site is in a programme, perhaps in this one."""


class NoApplication(VendorError):
    """Nothing was ever submitted for this site."""


class NobodyEnrolled(NotSupported):
    """404 in place of an empty list."""


class NoData(joinder_enphase.api.NoData):
    """The span lies outside what the vendor keeps. Nothing is wrong."""


_REDO = "Enphase refuses the owner's consent for this site and programme; the owner must give it again"
_NO_APPLICATION = "Enphase has no application for this site"
_PROGRAMME = "Enphase does not know this programme ID; correct programID of the join flow"
_UNPREPARED = "Enphase cannot take applications for this programme or account yet; ask Enphase to complete its set-up"
_FORMS = (
    "This programme asks for signed forms or a pre-approval, which Joinder does not send; enrol the site at Enphase"
)
_OF_KEY = "Enphase refuses the API key; it must be of the same account as the client ID"
_ELSEWHERE = "The state or country of this site is not the programme's"

_BY_TEXT: tuple[tuple[str, type[VendorError], str], ...] = (  # in lower case; the first that is found counts
    ("home owner access token", ConsentInvalid, _REDO),
    ("not authorized for this access", OperatorActionNeeded, "Enphase gives the account no right to this call"),
    ('"forbidden"', AppCredentialsRejected, _OF_KEY),  # of the gateway in front of the API
    ("x-api-key", AppCredentialsRejected, _OF_KEY),
    ("no account found for specified authorization", AppCredentialsRejected, _OF_KEY),
    ("not enrolled in any program which belongs", NotEnrolled, "Enphase has not approved this site"),
    ("provide valid program id", OperatorActionNeeded, _PROGRAMME),
    ("already exists an application", AlreadySubmitted, "An application for this site exists"),
    (
        "already exists an unenrollment application",
        OperatorActionNeeded,
        "An unenrolment application for this site is open; withdraw it at Enphase first",
    ),
    ("already enrolled", AlreadyEnrolled, "The site is in another programme; only Enphase can move it"),
    (
        "not authorized to enroll this site",
        OperatorActionNeeded,
        "Enphase has not authorised the account to enrol this site; open a support case with Enphase",
    ),
    ("program and site state should match", ApprovalRefused, _ELSEWHERE),
    ("program and site country should match", ApprovalRefused, _ELSEWHERE),
    (
        "home owner or address details is not available",
        ApprovalRefused,
        "Enphase lacks the owner or the address of this site; Enphase Customer Care must add it",
    ),
    ("site object not found", ApprovalRefused, "Enphase knows no such site"),
    ("no site found for", ApprovalRefused, "Enphase knows no such site"),
    ("enrollment creation rejected", ApprovalRefused, "Enphase rejected the enrolment of this site"),
    ("program feature flags not set", OperatorActionNeeded, _UNPREPARED),
    ("workflow", OperatorActionNeeded, _UNPREPARED),
    ("not part of account", OperatorActionNeeded, _UNPREPARED),
    ("salesforce", OperatorActionNeeded, _UNPREPARED),
    ("pre approved auth string is missing", OperatorActionNeeded, _FORMS),
    ("not processable furthur", OperatorActionNeeded, _FORMS),
    ("no application found", NoApplication, _NO_APPLICATION),
    ("no applications found", NoApplication, _NO_APPLICATION),
    ("no application available", NoApplication, _NO_APPLICATION),
    ("application not found with site_id", NoApplication, _NO_APPLICATION),
    ("no sites were found to be enrolled", NobodyEnrolled, "No site is enrolled in this programme"),
    ("before 2 years of current date", NoData, "Enphase keeps two years of data"),
    ("server side error", TransientError, "Enphase Grid Services failed"),
    ("downstream server", TransientError, "Enphase Grid Services failed"),
)
_BY_STATUS: dict[int, tuple[type[VendorError], str]] = {
    401: (MachineTokenRefused, "Enphase refuses this app's client credentials"),
    403: (OperatorActionNeeded, "Enphase refuses this call to the account; its support can tell why"),
    404: (NotSupported, "Enphase Grid Services has no such site, device or call"),
}
_REFERENCE = re.compile(rb'"errorRefNo"\s*:\s*"(\w{1,64})"')


def check(answer: Answer) -> None:
    """Raises the class of a failed answer; its text chooses the class and is never repeated."""
    if answer.ok:
        return
    reference = _REFERENCE.search(answer.content)
    detail = f"{answer.status}, errorRefNo {reference[1].decode()}" if reference else str(answer.status)
    if not answer.content.lstrip().startswith(b"<"):  # a page of some proxy says nothing of ours
        said = answer.content.decode(errors="replace").lower()
        kind, text = next(
            ((kind, text) for phrase, kind, text in _BY_TEXT if phrase in said),
            _BY_STATUS.get(answer.status, (None, "")),
        )
        if kind is not None and answer.status < 500 and answer.status != 429:
            raise kind(text, detail=detail)
    try:
        raise_for_status(answer)
    except UnexpectedPayload:
        raise UnexpectedPayload("Enphase Grid Services refused the parameters of the call", detail=detail) from None
