"""From nothing to the first enrollment of one's own, in the commands that `joinder init` itself names."""

from __future__ import annotations

from pathlib import Path

import pytest

from newcomer import Newcomer, first_enrollment

DATABASES = ("sqlite",)


@pytest.mark.timeout(300)
async def test_four_commands_lead_from_nothing_to_an_enrollment(tmp_path: Path) -> None:
    """Beside `pip install`: five in all."""
    assert await first_enrollment(Newcomer(tmp_path)) == 4
