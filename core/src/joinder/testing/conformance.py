"""The conformance class: one short subclass for each vendor, every check a test.

    class TestConformance(VendorConformance):
        vendor = "acme"

Cassettes are looked for in `cassettes/` beside the test's own file. What cannot hold is skipped with the reason the
vendor's simulator gives (`Simulator.conformance_skips`).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from joinder.testing import checks
from joinder.testing.advice import place_of, what_to_do
from joinder.testing.checks import Check
from joinder.testing.subject import Subject


class VendorConformance:
    vendor: ClassVar[str]

    @pytest.mark.asyncio
    async def test_conformance(self, conformance_check: Check, request: pytest.FixtureRequest) -> None:
        subject = Subject.installed(self.vendor, cassettes=Path(request.path).parent / "cassettes")
        outcome = await checks.run(conformance_check, subject)
        if outcome.state == "skipped":
            pytest.skip(outcome.reason)
        if outcome.state == "failed":
            told = [outcome.check.promise, outcome.reason, what_to_do(outcome.check, self.vendor)]
            if outcome.error is not None and (place := place_of(outcome.error, subject)):
                told.append(place)
            pytest.fail("\n".join(told), pytrace=False)
