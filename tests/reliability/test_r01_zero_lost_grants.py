"""R1: no grant is lost, whoever renews it and however often.

Eight worker processes, 500 grants, a vendor that revokes a grant when one of its tokens is used twice; some calls take
up to nine seconds. The databases share the 20 000 rotations of CI, as PostgreSQL's cost twice as much;
`make bench` runs 100 000 on each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from joinder.settings import Settings
from reliability.processes import nursery
from reliability.rotations import GRANTS, PROCESSES, SLOW, hurried, rotations
from reliability.vendor_process import vendor_process

ROTATIONS = {"sqlite": 16_000, "postgresql": 4_000}
ASKED = os.environ.get("JOINDER_TEST_ROTATIONS") or None  # on each database, instead


@pytest.mark.timeout(1200 if ASKED is None else 1200 + int(ASKED) // 20)
async def test_no_grant_is_lost_and_none_is_renewed_twice(
    database_kind: str, fresh_database: Settings, tmp_path: Path
) -> None:
    at_least = int(ASKED or ROTATIONS[database_kind])
    with vendor_process() as vendor, nursery(tmp_path / "processes") as nurse:
        vendor.rules(**SLOW)
        settings = hurried(fresh_database, vendor)
        figures = await rotations(settings, vendor, nurse, at_least=at_least, grants=GRANTS, processes=PROCESSES)
    print(f"\n{figures}")
    assert figures.healths == {"connecting": GRANTS}
    assert figures.rotations >= at_least
    assert (figures.vendor["reuse_seen"], figures.vendor["families_revoked"], figures.vendor["overlaps"]) == (0, 0, 0)
    assert figures.exchanges == figures.expiries
    assert figures.codes == [0] * PROCESSES
