"""Programmes, applications to them, and what is decided of them.

Names of members that Derapi's documents do not tell are those a reader would choose (docs/compatibility.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from joinder.clock import utc_now
from joinder.services.join.applications import Customer, Decision, Status
from joinder.services.records.told import EVERYTHING, Told
from joinder.services.refusals import Invalid, pointer
from joinder.store import tables
from joinder.wire.base import Body, Given, ListPage, Moment, Wire, utc_text

Text = Annotated[str, Meta(min_length=1, max_length=100)]
ResourceType = Literal["batterysystem", "solarsystem"]
KEY_BYTES_MOST, VALUE_BYTES_MOST = 100, 250
DETAILS_BYTES_MOST = 4096
AHEAD_MOST = timedelta(minutes=5)  # of a caller's clock
Info = Annotated[dict[str, str], Meta(max_length=50)]


class NewProgram(Body, kw_only=True):
    """`start` is now and `end` 7 300 days later when left out. `options`: by vendor, as in a join flow's entry."""

    name: Text
    vendors: list[str]
    start: Given | None = None
    end: Given | None = None
    resource_types: Annotated[list[ResourceType], Meta(min_length=1)] = field(default_factory=lambda: ["batterysystem"])
    options: dict[str, dict[str, str]] | None = None


class Program(Wire, kw_only=True):
    id: str
    name: str
    start: Moment
    end: Moment
    resource_types: list[str]
    vendors: list[str]

    @staticmethod
    def of(row: tables.Program, told: Told = EVERYTHING) -> Program:
        return Program(
            id=row.id,
            name=row.name,
            start=utc_text(row.start_at),
            end=utc_text(row.end_at),
            resource_types=row.resource_types,
            vendors=told.known(row.vendors),
        )


class ProgramPage(ListPage, kw_only=True):
    programs: list[Program]


class NewApplication(Body, kw_only=True):
    """What a customer applies with. `additionalInfo`: at most 50 keys of 100 bytes, values of 250 bytes."""

    application_time: Given
    utility_account_number: Text
    terms_accepted: bool = True
    customer: dict[str, Any]
    address: dict[str, Any]
    additional_info: Info = field(default_factory=dict)

    def customers(self) -> Customer:
        """Raises Invalid naming each member that cannot be."""
        return _customer(self, self.application_time.at, self.utility_account_number, self.customer, self.address)


class Submission(NewApplication, kw_only=True):
    program_id: str
    system_info: dict[str, Any] = field(default_factory=dict)


class NewVirtualEnrollment(Body, kw_only=True):
    """Only the programme is needed. Without `siteID` a home is made."""

    program_id: str
    site_id: str | None = None
    status: Status = "applied"
    application_time: Given | None = None
    utility_account_number: Text | None = None
    terms_accepted: bool = True
    customer: dict[str, Any] = field(default_factory=dict)
    address: dict[str, Any] = field(default_factory=dict)
    additional_info: Info = field(default_factory=dict)
    system_info: dict[str, Any] = field(default_factory=dict)

    def customers(self, moment: datetime) -> Customer:
        """Raises Invalid naming each member that cannot be."""
        at = self.application_time.at if self.application_time is not None else moment
        account = self.utility_account_number or ""
        return _customer(self, at, account, self.customer, self.address)


class NewEnrollmentEvent(Body, kw_only=True):
    """`reason` goes with every type but `approved`."""

    type: Decision
    reason: Annotated[str, Meta(min_length=1, max_length=500)] | None = None

    def why(self) -> str | None:
        """Raises Invalid for a reason to approve."""
        if self.type == "approved" and self.reason is not None:
            raise Invalid("An approval has no reason", errors={"/reason": "goes with the other types only"})
        return self.reason


def _customer(
    body: NewApplication | NewVirtualEnrollment,
    applied_at: datetime,
    utility_account: str,
    customer: dict[str, Any],
    address: dict[str, Any],
) -> Customer:
    errors = {} if body.terms_accepted else {"/termsAccepted": "must be true"}
    if applied_at > utc_now() + AHEAD_MOST:  # or no honest one would be newer, until that day
        errors["/applicationTime"] = "lies in the future"
    for name, value in body.additional_info.items():
        if not 1 <= len(name.encode()) <= KEY_BYTES_MOST or len(value.encode()) > VALUE_BYTES_MOST:
            wanted = f"a key has 1 to {KEY_BYTES_MOST} bytes, a value at most {VALUE_BYTES_MOST}"
            errors[pointer("additionalInfo", name)] = wanted
    system_info = getattr(body, "system_info", {})
    for name, details in (("customer", customer), ("address", address), ("systemInfo", system_info)):
        if len(str(details).encode()) > DETAILS_BYTES_MOST:
            errors[pointer(name)] = f"must have at most {DETAILS_BYTES_MOST} bytes"
    if errors:
        raise Invalid("The application cannot be taken as it is", errors=errors)
    return Customer(
        applied_at=applied_at,
        utility_account=utility_account,
        customer=customer,
        address=address,
        additional_info=body.additional_info,
        system_info=system_info,
    )
