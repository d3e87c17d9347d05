"""What looks up the sites an enrollment opens takes each by its id, and never walks all sites of a vendor for it.

A page of a hundred enrollments beside three thousand sites took an eighth of a second, in the loop that answers all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from joinder.services.grants import site_rights
from joinder.services.readings import aggregates, sites
from joinder.services.records import health
from joinder.settings import Settings
from joinder.store import enrollments

DATABASES = ("sqlite",)
STATEMENTS = {
    "sites of enrollments": enrollments._SITES.format(places=":id, :account, :enrollment"),
    "opened by one": sites._OPENED,
    "a site it may read": sites._MAY_READ_SITE,
    "a device it may read": sites._MAY_READ_DEVICE,
    "whether one was read": str(health._ONE_READ),
    "whether one waits": site_rights.WAITING,
    "whether one is shared": site_rights._SHARED,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_vendor_s_sites_are_walked(fresh_database: Settings, name: str) -> None:
    path = Path(fresh_database.database_url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    try:
        values = dict.fromkeys(("id", "account", "enrollment"), "x")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {STATEMENTS[name]}", values)]
    finally:
        connection.close()
    assert plan
    assert not [step for step in plan if step.startswith("SCAN") and "SUBQUERY" not in step], plan
    assert not [step for step in plan if step.endswith("(account_id=? AND vendor=?)")], plan


@pytest.mark.parametrize("days", [(), ((0, 86400), (86400, 172800))])
def test_a_fleet_s_sums_look_up_the_readings_of_its_sites_alone(
    fresh_database: Settings, days: Sequence[tuple[int, int]]
) -> None:
    path = Path(fresh_database.database_url.removeprefix("sqlite:///"))
    filters, values = aggregates._filters(aggregates.Fleet(account_id="x"))
    values |= aggregates._of_period("day" if days else "hour", 0, 172800)
    connection = sqlite3.connect(path)
    try:
        sql = aggregates._sql(aggregates._FLEET.format(filters=filters), days)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    finally:
        connection.close()
    by_key = tuple(f"SEARCH {name} USING PRIMARY KEY (subject_id=?" for name in ("interval", "i"))
    assert [step for step in plan if step.startswith(by_key)], plan
    assert not [step for step in plan if step.startswith(("SCAN interval", "SCAN i "))], plan
    assert not [step for step in plan if step.startswith("SCAN") and step.endswith("LEFT-JOIN")], plan  # for each site
