"""A simulator that did not say how its vendor tells of a home: the advice names the member, not the plugin's code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from joinder.energy import DeviceKind, Live, MeterRole, Reading, ReadingsQuery, Site
from joinder.series import Quarters
from joinder.simulate.home import Home
from joinder.simulate.truth import TrueDevice, TrueSite
from joinder.testing.subject import Failed
from joinder.testing.truth import expect_true_live, expect_true_rows
from joinder.vendor import Flow, Limits, Refresh, Vendor

TRUTH = TrueSite(
    home=Home(seed=7, timezone="Europe/Berlin", battery_wh=0),
    devices=(TrueDevice(kind=DeviceKind.INVERTER), TrueDevice(kind=DeviceKind.METER, role=MeterRole.GRID)),
)
START = datetime(2026, 6, 1, 4, tzinfo=UTC)
QUERY = ReadingsQuery(site=Site(vendor_id="s", name="s", devices=()), start=START, end=START + timedelta(hours=14))
VENDOR = Vendor(
    name="acme",
    label="Acme",
    docs_url="https://acme.example/",
    flow=Flow.FORM,
    refresh=Refresh.STATIC_KEY,
    limits=Limits(poll_every=timedelta(minutes=15)),
    capabilities={},
)


def rows(truth: TrueSite) -> tuple[Reading, ...]:
    """What a plugin makes of a vendor that tells as `truth` says."""
    found, length = Quarters(QUERY.start, QUERY.end), timedelta(seconds=truth.row_s)
    for index in range(int((QUERY.end - QUERY.start) / length)):
        start, end = QUERY.start + length * index, QUERY.start + length * (index + 1)
        of = truth.energy(start.timestamp(), end.timestamp())
        for metric in ("solar_wh", "import_wh", "export_wh"):
            found.energy(metric, start, end, getattr(of, metric))
    return found.readings()


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"row_s": 3600}, "TrueSite(row_s=3600)"),
        ({"row_s": 1800}, "TrueSite(row_s=1800)"),
        ({"net_s": 900}, "TrueSite(net_s=900)"),
        ({"row_s": 1800, "net_s": 1800}, "1800"),
    ],
)
def test_rows_that_the_truth_does_not_know_are_named(told: dict[str, int], named: str) -> None:
    told_so = replace(TRUTH, **told)
    expect_true_rows(rows(told_so), QUERY, told_so)
    with pytest.raises(Failed) as failed:
        expect_true_rows(rows(told_so), QUERY, TRUTH)
    assert named in str(failed.value)


def test_a_number_that_is_wrong_is_no_member_that_was_forgotten() -> None:
    late = tuple(
        Reading(start=row.start, end=row.end, solar_wh=before.solar_wh)
        for before, row in zip(rows(TRUTH), rows(TRUTH)[1:], strict=False)
    )
    with pytest.raises(Failed) as failed:
        expect_true_rows(late, QUERY, TRUTH)
    assert "TrueSite" not in str(failed.value)


@pytest.mark.parametrize("told", [{"live_every_s": 900}, {"live_mean_s": 900}])
def test_live_power_that_the_truth_does_not_know_is_named(told: dict[str, int]) -> None:
    now, told_so = datetime(2026, 6, 1, 10, 7, 30, tzinfo=UTC), replace(TRUTH, **told)
    at = now - timedelta(seconds=now.timestamp() % told_so.live_every_s)
    power = told_so.live(at.timestamp())
    live = Live(measured_at=at, solar_w=power.solar_w, grid_w=power.grid_w)
    with pytest.raises(Failed) as failed:
        expect_true_live(VENDOR, live, TRUTH, now)
    ((name, value),) = told.items()
    assert f"TrueSite({name}=" in str(failed.value)
    assert str(value) in str(failed.value)
