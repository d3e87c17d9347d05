"""What an inverter gave today: a sum of stored quarter hours, or nothing where one of them is not known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.readings import recent
from joinder.store.sites import StoredDevice

DATABASES = ("sqlite",)
DEVICE = cast("StoredDevice", SimpleNamespace(id="inv", site_id="site"))
INSERT = (
    'INSERT INTO interval (subject_id, resolution, start, "end", solar_wh, quality, fetched_at) '
    "VALUES ('inv', '15mins', :start, :end, :wh, :quality, 1)"
)
Told = tuple[float | None, str]


@pytest.mark.parametrize(
    ("told", "wh"),
    [
        ([], None),
        ([(10.0, "measured")], 10.0),
        ([(10.0, "measured"), (5.5, "estimated")], 15.5),
        ([(0.0, "measured"), (0.0, "measured")], 0.0),
        ([(10.0, "measured"), (5.0, "partial")], None),
        ([(10.0, "measured"), (None, "measured"), (5.0, "measured")], None),
        ([(10.0, "measured"), (1e305, "measured")], 10.0),
        ([(1e305, "measured"), (5.0, "measured"), (1e305, "measured"), (1.0, "measured")], None),
        ([(None, "measured"), (5.0, "measured")], 5.0),
    ],
)
async def test_a_sum_that_lacks_a_part_is_not_told(
    hub: Hub, told: list[Told], wh: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = now() // 86400 * 86400
    monkeypatch.setattr(recent, "now", lambda: midnight + 80_000)
    answers = hub.store.rows

    async def rows(sql: str, values: Any) -> Any:
        return [("UTC",)] if "FROM site" in sql else [(1,)] if "FROM device" in sql else await answers(sql, values)

    for index, (value, quality) in enumerate(told):
        start = midnight + 36_000 + 900 * index
        row = {"start": start, "end": start + 900, "wh": value, "quality": quality}
        await hub.store.apply((INSERT, row))
    monkeypatch.setattr(hub.store, "rows", rows)
    found = await recent.production(hub, DEVICE)
    assert (found.wh if found is not None else None) == wh
    if found is not None:
        first = next(index for index, (value, _) in enumerate(told) if value is not None)
        assert found.start == midnight + 36_000 + 900 * first
