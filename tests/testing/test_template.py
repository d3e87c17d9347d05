"""What the template vendor teaches: new authors copy it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from joinder.physics import NO_LOAD
from joinder.templates import render
from support import unloaded


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    render("acme", "Acme", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    importlib.invalidate_caches()
    with unloaded("joinder_acme"):
        yield importlib.import_module("joinder_acme")


@pytest.mark.parametrize(
    ("solar", "charging", "exporting", "load", "warnings"),
    [
        (1500.0, 200.0, 300.0, 1000.0, ()),
        (1500.0, 1000.0, 900.0, None, (NO_LOAD,)),  # something generates that no meter sees
        (1500.0, 1000.0, 510.0, 0.0, ()),  # noise
        (-12.0, 0.0, -400.0, 400.0, ()),  # an inverter at night
        (None, 1000.0, 900.0, None, ()),
    ],
)
def test_live_load_of_the_template_is_judged_by_physics(
    template: ModuleType,
    solar: float | None,
    charging: float,
    exporting: float,
    load: float | None,
    warnings: tuple[str, ...],
) -> None:
    power = template.api.Power(at=datetime(2026, 6, 1, tzinfo=UTC), solar=solar, battery=charging, grid=exporting)
    live, said = template.mapping.live(power)
    assert (live.load_w, said) == (load, warnings)
