"""R1: no grant is lost, whoever renews it and however often.

Eight worker processes, 500 grants, a vendor that revokes a grant when one of its tokens is used twice; some calls take
up to 0.9 of the deadline. Both databases share the rotations of CI; `make bench` runs 100 000 on each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from joinder.settings import Settings
from reliability.processes import nursery
from reliability.rotations import GRANTS, PROCESSES, SLOW, hurried, rotations
from reliability.vendor_process import vendor_process

ROTATIONS = int(os.environ.get("JOINDER_TEST_ROTATIONS", "10000"))  # on each database


@pytest.mark.timeout(300 + ROTATIONS // 20)
async def test_no_grant_is_lost_and_none_is_renewed_twice(fresh_database: Settings, tmp_path: Path) -> None:
    with vendor_process() as vendor, nursery(tmp_path / "processes") as nurse:
        vendor.rules(**SLOW)
        settings = hurried(fresh_database, vendor)
        figures = await rotations(settings, vendor, nurse, at_least=ROTATIONS, grants=GRANTS, processes=PROCESSES)
    print(f"\n{figures}")
    assert figures.healths == {"ok": GRANTS}
    assert figures.rotations >= ROTATIONS
    assert (figures.vendor["reuse_seen"], figures.vendor["families_revoked"], figures.vendor["overlaps"]) == (0, 0, 0)
    assert figures.exchanges == figures.expiries
    assert figures.codes == [0] * PROCESSES
