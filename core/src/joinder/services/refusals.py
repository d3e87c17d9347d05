"""Why a service refuses a request: the caller can do something about each of these."""

from __future__ import annotations

from typing import ClassVar


def pointer(*members: str | int) -> str:
    """Makes a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(member).replace("~", "~0").replace("/", "~1") for member in members)


class Refusal(Exception):
    """`detail` is for the caller; `errors` maps JSON Pointers of the request to sentences."""

    status: ClassVar[int] = 400
    problem: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be carried out"

    def __init__(self, detail: str, *, errors: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or {}


class Invalid(Refusal):
    problem = "validation-error"
    title = "The request does not match its schema"


class NotFound(Refusal):
    """Unknown, or another account's: the two look the same."""

    status = 404
    problem = "not-found"
    title = "There is no such resource"

    def __init__(self, detail: str = "No resource with this id exists in this account.") -> None:
        super().__init__(detail)


class WrongMode(Refusal):
    """Virtual and production clients have operations of their own."""

    status = 403
    problem = "wrong-mode"
    title = "This is for clients of the other mode"


class NotForBrowsers(Refusal):
    status = 403
    problem = "forbidden"
    title = "The access token does not allow this"


class Conflict(Refusal):
    status = 409
    problem = "conflict"
    title = "The present state does not allow this"


class EnrollmentStatus(Refusal):
    status = 409
    problem = "invalid-enrollment-status"
    title = "The enrollment's status does not allow this"


class ApplicationTime(Refusal):
    status = 409
    problem = "invalid-enrollment-application-time"
    title = "A newer application is on record"


class NotOffered(Refusal):
    """Known from elsewhere, and not done here; `detail` says what does instead."""

    status = 422
    problem = "not-supported"
    title = "Joinder does not do this"


class Unprocessable(Refusal):
    status = 422
    problem = "unprocessable"
    title = "The request is well-formed, but cannot work"


class InFlight(Refusal):
    """The first request with this Idempotency-Key has not been answered yet."""

    status = 409
    problem = "idempotency-in-flight"
    title = "The first request with this key has no answer yet"


class KeyReused(Refusal):
    """The Idempotency-Key was used for another request."""

    status = 422
    problem = "idempotency-key-reused"
    title = "The key belongs to another request"


class AnswerLost(Refusal):
    """The first request took effect, and its server was gone before the answer."""

    status = 409
    problem = "idempotency-answer-lost"
    title = "The request took effect, and its answer was lost"
