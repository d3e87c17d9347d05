"""Energy of many sites at once."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import QueryParameter

from joinder.api.auth import require_caller
from joinder.api.deps import CallerDep, HubDep, PageSize, PageToken, VendorName, When, window_of
from joinder.series import zone
from joinder.services.readings import aggregates
from joinder.services.readings.aggregates import Fleet
from joinder.services.readings.periods import SummaryLevel
from joinder.services.refusals import Invalid
from joinder.wire.aggregates import Aggregates

Level = Annotated[SummaryLevel, QueryParameter(description="15mins, hour, day or month.")]
Reference = Annotated[str | None, QueryParameter(description="Only sites of enrollments with this reference.")]
TimeZone = Annotated[str, QueryParameter(description="IANA name; whose hours, days and months they are.")]


class AggregateController(Controller):
    path = "/aggregates"
    tags = ["Sites"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get(
        "/intervals",
        operation_id="getAggregateIntervals",
        opt={"scope": "read:sites"},
        summary="Energy of a fleet",
    )
    async def intervals(
        self,
        hub: HubDep,
        caller: CallerDep,
        start: When = None,
        end: When = None,
        level: Level = "hour",
        timezone: TimeZone = "UTC",
        vendor: VendorName = None,
        reference: Reference = None,
        page_size: PageSize = 50,
        token: PageToken = None,
    ) -> Aggregates:
        """Sums what is stored of all sites, no vendor is asked. Each sum says how many sites it stands for."""
        found = zone(timezone)
        if found is None:
            wanted = "must be the IANA name of a time zone, e.g. Europe/Berlin"
            raise Invalid("timezone is not known", errors={"/timezone": wanted})
        window = window_of(level, start, end, page_size, token)
        fleet = Fleet(account_id=caller.account_id, vendor=vendor, reference=reference, known=caller.told.vendors)
        return Aggregates.of(level, await aggregates.of_fleet(hub, fleet, window, found))
