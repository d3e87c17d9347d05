"""The kit's own score, in small: all patches still fit their vendors, and one of each family is seen by its check.

`make mutants` plants every one of them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from joinder.templates import KINDS, render
from support import unloaded


def _loaded() -> ModuleType:
    """tests/mutants/run.py is a script, not a module of the tests."""
    path = Path(__file__).parents[1] / "mutants/run.py"
    spec = importlib.util.spec_from_file_location("mutants_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = _loaded()
MUTANTS = [mutant for vendor in run.BASES for mutant in run.mutants(vendor)]
TELLING = {  # a mistake → the check that must see it
    ("oauth", "battery power with the vendor's sign"): "live_power_is_true",
    ("oauth", "the refresh token spent inside fetch_readings"): "refresh_token_stays_in_refresh",
    ("key", "kWh and kW taken for Wh and W"): "rows_are_true",
    ("key", "the vendor's own refusal taken as passing trouble"): "own_refusals_are_understood",
}


def test_there_are_enough_mistakes_each_with_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 100
    assert len({(mutant.vendor, mutant.name) for mutant in MUTANTS}) == len(MUTANTS)


def test_every_mistake_can_still_be_planted(tmp_path: Path) -> None:
    for kind in KINDS:
        render("acme", "Acme", tmp_path / kind, kind)
    for mutant in MUTANTS:
        base = run.BASES[mutant.vendor]
        path = (base.source or tmp_path / base.kind / "src") / base.package / mutant.file
        compile(mutant.patched(path.read_text()), str(path), "exec")


@pytest.mark.parametrize("planted", TELLING, ids=lambda planted: planted[1])
async def test_a_mistake_is_seen_by_its_check(
    planted: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = next(one for one in MUTANTS if (one.vendor, one.name) == planted)
    package = run.BASES[mutant.vendor].package
    monkeypatch.setattr(sys, "path", list(sys.path))
    with unloaded(package):
        subject = run.copied(run.BASES[mutant.vendor], tmp_path, mutant)
        entry = next(one for one in run.checks() if one.name == TELLING[planted])
        outcome = await run.run(entry, subject)
    assert outcome.state == "failed"
    assert "\n" not in outcome.reason
