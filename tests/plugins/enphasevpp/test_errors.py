"""Every way Grid Services says no that the vendor's page names, and the class each becomes.

The 196 documented texts are classed one by one in tests/payloads/test_enphasevpp.py.
"""

from __future__ import annotations

import json

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    ApprovalPending,
    ApprovalRefused,
    ConsentInvalid,
    NotSupported,
    OperatorActionNeeded,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import Answer
from joinder_enphase_vpp import refusals
from joinder_enphase_vpp.refusals import check

REFERENCE = "e20fdf9aa241bea9"


def envelope(status: int, message: str, additional: str | None = None) -> bytes:
    """As the document prints it: `code` a string, and a comma too many."""
    told = f'"code": "{status}",\r\n "displayMessage": "{message}",\r\n "additionalInfo": {json.dumps(additional)},'
    return f'{{\r\n {told}\r\n "errorRefNo": "{REFERENCE}",\r\n}}'.encode()


def row(status: int, message: str, kind: type[VendorError]) -> tuple[int, bytes, type[VendorError]]:
    return status, envelope(status, message), kind


NOT_ENROLLED = "Site is not enrolled in any program which belongs to your account."
RETRY = "Application could not be processed, Please retry again"
STATES = "Program and site state should match. Program state is CA and site state is VT"
COUNTRIES = "Program and site country should match. Program country is US and site country is AU"
REJECTED = "Application ID: 1 for site_id = 2 processed successfully but Enrollment creation rejected. Reason - x"
ROWS = [
    row(400, "Invalid parameter or headers", UnexpectedPayload),
    row(401, "grant_type is not provided or invalid", refusals.MachineTokenRefused),
    row(401, "Authorization is not provided or invalid", refusals.MachineTokenRefused),
    (401, b"", refusals.MachineTokenRefused),
    (401, b"<html>Unauthorized</html>", UnexpectedPayload),
    row(401, "You are not authorized for this access", OperatorActionNeeded),
    (403, b'{"message":"Forbidden"}', AppCredentialsRejected),
    (403, b"<html><h1>403 Forbidden</h1></html>", UnexpectedPayload),
    row(403, "x-api-key is not provided or invalid", AppCredentialsRejected),
    row(403, "x-api-key is not valid for this account", AppCredentialsRejected),
    row(403, "No account found for specified Authorization", AppCredentialsRejected),
    row(403, NOT_ENROLLED, refusals.NotEnrolled),
    row(403, "Please provide valid Program ID", OperatorActionNeeded),
    row(404, "Please provide valid Program ID", OperatorActionNeeded),
    row(401, "Provided Home Owner access token expired", ConsentInvalid),
    row(401, "Provided Home Owner access token is invalid", ConsentInvalid),
    row(403, "Provided Home Owner Access Token does not match with Site ID", ConsentInvalid),
    row(403, "Home Owner Access Token missing", ConsentInvalid),
    row(403, "Not authorized to enroll this site", OperatorActionNeeded),
    row(400, "Site is already enrolled in program XYZ", refusals.AlreadyEnrolled),
    (403, b"Site is already enrolled in program XYZ", refusals.AlreadyEnrolled),  # bare, as once seen on the wire
    row(400, STATES, ApprovalRefused),
    row(400, COUNTRIES, ApprovalRefused),
    (400, envelope(400, RETRY, "Home owner or address details is not available for given site"), ApprovalRefused),
    (400, envelope(400, RETRY, "Site object not found with site_id: 1"), ApprovalRefused),
    (400, envelope(400, RETRY, "Program feature flags not set. Program: x"), OperatorActionNeeded),
    row(403, "There already exists an application with this Site ID", refusals.AlreadySubmitted),
    row(403, "There already exists an unenrollment application with the site ID 12345.", OperatorActionNeeded),
    (404, envelope(404, "No applications found", "There is no application found for 1"), refusals.NoApplication),
    row(404, "No sites were found to be enrolled in the program: x", refusals.NobodyEnrolled),
    row(409, REJECTED, ApprovalRefused),
    row(422, "Server side error", TransientError),
    row(422, "Error occurred while getting response from downstream server. Please refer to …", TransientError),
    row(422, "start_at can't be before 2 years of current date", refusals.NoData),
    row(422, "Unprocessable Entity", UnexpectedPayload),
    row(400, "Max Upload Size Exceeded", UnexpectedPayload),
    row(403, "Pre Approved Auth String is missing", OperatorActionNeeded),
    row(403, "Something new", OperatorActionNeeded),
    row(404, "Requested resource Not Found", NotSupported),
    (404, b'{"code":"404","additionalInfo": "System not found for {:id=>"1"}",}', NotSupported),
    row(429, "Authorization is not provided or invalid", RateLimited),
    row(500, NOT_ENROLLED, TransientError),
    (502, b"<html>Bad gateway</html>", TransientError),
    (400, b"[1, 2]", UnexpectedPayload),
    (400, b"\xff\xfe", UnexpectedPayload),
    (302, b"", UnexpectedPayload),
]


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_class_of_each_answer(status: int, body: bytes, expected: type[VendorError]) -> None:
    with pytest.raises(VendorError) as caught:
        check(Answer(status, {}, body, "GET vpp.enphaseenergy.com/api/v1/systems/1/summary"))
    assert type(caught.value) is expected
    text = str(caught.value)
    for word in ("displayMessage", "Please", "Reason", ":id", "XYZ", NOT_ENROLLED):
        assert word not in text
        assert word not in (caught.value.detail or "")
    if REFERENCE.encode() in body and status not in (429, 500):
        assert caught.value.detail == f"{status}, errorRefNo {REFERENCE}"


def test_who_must_act_on_what_the_plugin_names_itself() -> None:
    assert issubclass(refusals.NotEnrolled, ApprovalPending)
    assert issubclass(refusals.MachineTokenRefused, AppCredentialsRejected)
    assert issubclass(refusals.AlreadyEnrolled, ApprovalRefused)
    assert issubclass(refusals.NoData, NotSupported)


def test_a_good_answer_passes() -> None:
    check(Answer(200, {}, b"{}", "GET vpp.enphaseenergy.com/x"))
