"""Which calls a query needs: live power, quarter hours day by day, days month by month, and again what is missing."""

from __future__ import annotations

import asyncio

from joinder import Context, DeviceKind, Grant, Live, Reading, Readings, ReadingsQuery
from joinder.errors import TransientError, UnexpectedPayload, VendorError
from joinder_tesla import api, coverage, mapping
from joinder_tesla.api import Row
from joinder_tesla.coverage import Asked

HOOK_S = 80.0  # all calls of one hook together: inside the registry's 90 s
NO_OFFSET = "Rows without a UTC offset were left out: their moment is unknown"
HOURS_MISSING = "Tesla told no rows for a part of the hours that were asked for"
DAYS_MISSING = "Tesla told no rows for some of the days that were asked for"


class Reader:
    """One query's."""

    def __init__(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> None:
        self._ctx = ctx
        self._grant = grant
        self._query = query
        self._until = asyncio.get_running_loop().time() + HOOK_S
        self._again = coverage.MOST_AGAIN
        self._warnings: dict[str, None] = {}  # each sentence once, in order

    async def readings(self) -> Readings:
        """Reads what the query asks for. Raises NotSupported, before any call, where no zone says when days begin."""
        wanted = self._query.start < self._query.end
        by_day = wanted and self._query.resolution == "day"
        months = mapping.months_to_ask(self._query) if by_day else []  # refused before any call where no zone is known
        live = await self._live(wanted) if self._query.live else None
        rows: tuple[Reading, ...] = ()
        if wanted:
            rows = await (self._days(months) if by_day else self._quarters())
        return Readings(intervals=rows, live=live, warnings=tuple(self._warnings))

    async def _live(self, wanted: bool) -> Live | None:
        try:
            status = await self._get("live_status", api.LiveStatus)
        except (TransientError, UnexpectedPayload) as error:
            if not wanted:
                raise
            self._warn(f"Live power was not read: {error}")
            return None
        self._warn(*mapping.live_warnings(status, self._query.site))
        return mapping.live(status, self._query.site)

    async def _quarters(self) -> tuple[Reading, ...]:
        asked = mapping.days_to_ask(self._query)
        rows = [row for span in asked for row in await self._page("power", span)]
        more = coverage.days_again(rows, self._query, asked, self._ctx.now())
        for span in more:
            rows += await self._optional("power", span, "Some hours") or []
        if coverage.lacks_hours(rows, self._query, self._ctx.now()):
            self._warn(HOURS_MISSING)
        found = mapping.quarters(rows, self._query, await self._charges([*asked, *more]))
        self._warn(*mapping.row_warnings(rows, found))
        return found

    async def _charges(self, asked: list[Asked]) -> list[Row]:
        """Reads the state of charge, up to the first page that fails: the next ones would fail as well."""
        rows: list[Row] = []
        if not self._query.site.has(DeviceKind.BATTERY):
            return rows
        for span in asked:
            page = await self._optional("soe", span, "The state of charge of quarter hours")
            if page is None:
                break
            rows += page
        return rows

    async def _days(self, months: list[Asked]) -> tuple[Reading, ...]:
        found = [row for month in months for row in await self._month(month)]
        return mapping.days(found, self._query)

    async def _month(self, month: Asked) -> list[Row]:
        """Reads a month's rows; asks again for what is missing, as long as this query may cost more calls."""
        rows = coverage.inside(await self._page("energy", month), month)
        again = coverage.month_again(rows, self._query, month, self._ctx.now())[: self._again]
        self._again -= len(again)
        for span in again:
            more = await self._optional("energy", span, "Some days") or []
            rows += coverage.of_other_days(coverage.inside(more, span), rows)
        if coverage.days_missing(rows, self._query, month, self._ctx.now()):
            self._warn(DAYS_MISSING)
        return rows

    async def _optional(self, kind: str, span: Asked, what: str) -> list[Row] | None:
        """Reads a page without which the rest still counts: its failure is a warning, and None."""
        try:
            return await self._page(kind, span)
        except VendorError as error:
            self._warn(f"{what} could not be read: {error}")
            return None

    async def _page(self, kind: str, span: Asked) -> list[Row]:
        rows = (await self._get("calendar_history", api.History, kind=kind, **span)).time_series or []
        known = [row for row in rows if row.timestamp.utcoffset() is not None]
        if len(known) < len(rows):
            self._warn(NO_OFFSET)
        return known

    async def _get(self, endpoint: str, into: type[api.T], **params: str) -> api.T:
        left = self._until - asyncio.get_running_loop().time()
        path = api.site_path(self._query.site.vendor_id, endpoint)
        deadline = min(api.CALL_DEADLINE, max(left, 1.0))
        return await api.get(self._ctx, self._grant, path, into, deadline=deadline, **params)

    def _warn(self, *sentences: str) -> None:
        self._warnings |= dict.fromkeys(sentences)
