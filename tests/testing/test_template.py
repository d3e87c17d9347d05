"""What the template vendor teaches: new authors copy it."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs

from joinder.physics import NO_LOAD
from joinder.templates import KINDS, render
from joinder.testing import subject as subjects
from joinder.testing.advice import Trouble, place_of, troubles, what_to_do
from joinder.testing.checks import all_checks, run
from joinder.testing.page import charts_of, page
from joinder.testing.subject import Subject
from joinder.vendor import Capability, Support
from joinder.vendors.registry import ENTRY_POINT_GROUP
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


def test_what_owners_are_told_is_read_follows_from_what_the_vendor_can(template: ModuleType) -> None:
    vendor = template.VENDOR
    assert vendor.reads == ("solar production", "battery state", "grid import and export", "energy into your car")
    of_the_sun = {**dict.fromkeys(vendor.capabilities, Support.NOT_YET), Capability.SOLAR_INTERVALS: Support.YES}
    assert structs.replace(vendor, capabilities=of_the_sun).reads == ("solar production",)
    assert structs.replace(vendor, data_read=("names of rooms",)).reads == ("names of rooms",)


def subject_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    render("acme", "Acme", folder, kind)
    monkeypatch.syspath_prepend(str(folder / "src"))
    importlib.invalidate_caches()
    return Subject(
        name="acme",
        entry=EntryPoint(name="acme", value="joinder_acme", group=ENTRY_POINT_GROUP),
        make_simulator=lambda: importlib.import_module("joinder_acme.simulator").simulator(),
        cassettes=folder / "tests/cassettes",
    )


def test_an_editable_plugin_is_checked_with_its_own_cassettes_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unloaded("joinder_acme"):
        entry = subject_of("key", tmp_path, monkeypatch).entry
        monkeypatch.setattr(subjects, "loadable", lambda group, _: {"acme": entry} if group == subjects.VENDORS else {})
        assert Subject.installed("acme").cassettes == tmp_path / "tests/cassettes"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "oauth"])  # test_kit.py looks at that one
async def test_every_kind_of_vendor_is_green_from_the_first_minute(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of(kind, tmp_path, monkeypatch)
        outcomes = [await run(entry, subject) for entry in all_checks()]
    assert [(one.check.name, one.reason) for one in outcomes if one.state not in ("passed", "n/a")] == []
    assert len([one for one in outcomes if one.state == "passed"]) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_whole_project_without_another_name_in_it(kind: str, tmp_path: Path) -> None:
    render("sunny", "Sunny & Co", tmp_path, kind)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {"LICENSE", ".gitignore", "pyproject.toml", "README.md", ".github/workflows/check.yml"}
    assert wanted <= files
    assert "src/joinder_sunny/py.typed" in files
    assert not any("acme" in (tmp_path / file).read_text().lower() for file in files)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["joinder>=0.1,<0.2"]
    with pytest.raises(FileExistsError):
        render("sunny", "Sunny", tmp_path, kind)


async def test_a_failed_check_names_the_place_in_the_authors_code_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        secret = subject.simulator().owner_form["apiKey"]
    with unloaded("joinder_acme"):
        file = tmp_path / "src/joinder_acme/mapping.py"
        file.write_text(
            file.read_text().replace("    kind = _KINDS[", f"    raise KeyError('{secret}')\n    kind = _KINDS[")
        )
        entry = next(one for one in all_checks() if one.name == "site_is_normalised")
        outcome = await run(entry, subject)
        assert outcome.error is not None
        place = place_of(outcome.error, subject)
        html = page(subject, [outcome], [], "nothing <to> draw")
    assert outcome.state == "failed"
    assert "joinder_acme/mapping.py:" in place
    assert "in _device: raise KeyError('…')" in place
    assert secret not in place + html
    assert what_to_do(entry, "acme") in html.replace("&#x27;", "'")
    assert "nothing &lt;to&gt; draw" in html
    assert "<script" not in html


async def test_a_mistake_that_fails_many_checks_is_told_once_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        file = tmp_path / "src/joinder_acme/mapping.py"
        file.write_text(file.read_text().replace("    kind = _KINDS[", "    {}[0]\n    kind = _KINDS["))
        names = ("site_is_normalised", "quarter_hours_are_whole", "ids_stay", "cassette_says_its_source")
        outcomes = [await run(entry, subject) for entry in all_checks() if entry.name in names]
        told = troubles(outcomes, subject)
        html = page(subject, outcomes, [])
    assert told.keys() == set(names[:3])
    assert (told["site_is_normalised"].others, "{}[0]" in told["site_is_normalised"].place) == (2, True)
    assert told["ids_stay"] == Trouble(as_in="site_is_normalised")
    assert (html.count("{}[0]"), html.count("<p>As site is normalised.</p>")) == (1, 2)
    assert "The same in 2 other checks." in html


async def test_a_call_the_cassette_lacks_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        cassette = tmp_path / "tests/cassettes/flow.yaml"
        cassette.write_text(cassette.read_text().replace("/v1/sites/site-1/power", "/v1/sites/site-1/watts"))
        outcome = await run(next(one for one in all_checks() if one.name == "cassette_plays_whole"), subject)
        assert outcome.error is not None
        place = place_of(outcome.error, subject)
    assert (
        outcome.reason
        == "flow.yaml holds no call GET eu.acme.example/v1/sites/site-1/power, or one of another query or body"
    )
    assert "in fetch_readings: " in place
    assert len(place.splitlines()) == 3


@pytest.mark.parametrize("zone", ["Australia/Sydney", "Asia/Tokyo"])
async def test_a_home_anywhere_is_read_over_its_own_clock_changes(
    zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        homes = tmp_path / "src/joinder_acme/homes.py"
        homes.write_text(homes.read_text().replace("Europe/Berlin", zone))
        named = ("clock_changes_are_true", "spring_day_has_92_quarters")
        outcomes = [await run(entry, subject) for entry in all_checks() if entry.name in named]
    if zone == "Australia/Sydney":
        assert [one.state for one in outcomes] == ["passed", "passed"]
    else:
        assert {one.state for one in outcomes} == {"failed", "n/a"}
        assert all(zone in one.reason for one in outcomes)


async def test_a_vendor_without_live_power_has_none_to_balance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        init = tmp_path / "src/joinder_acme/__init__.py"
        silent = "Capability.CHARGERS: Support.YES,"
        init.write_text(init.read_text().replace(silent, f"{silent} Capability.LIVE: Support.VENDOR_HAS_NONE,"))
        outcome = await run(next(one for one in all_checks() if one.name == "live_power_balances"), subject)
    assert (outcome.state, outcome.reason) == ("n/a", "only for vendors that tell live power")


async def test_what_the_authors_own_simulator_raised_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        secret = subject.simulator().owner_form["apiKey"]
    with unloaded("joinder_acme"):
        file = tmp_path / "src/joinder_acme/homes.py"
        file.write_text(
            file.read_text().replace(
                "    power = site.home.power", f"    {{}}['{secret}']\n    power = site.home.power"
            )
        )
        outcome = await run(next(one for one in all_checks() if one.name == "live_power_is_true"), subject)
        assert outcome.error is not None
        place = place_of(outcome.error, subject)
    assert "the simulator broke (KeyError), and then: TransientError" in outcome.reason
    assert "joinder_acme/homes.py:" in place
    assert "KeyError: '…'" in place
    assert secret not in place + outcome.reason


async def test_what_was_said_is_drawn_beside_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unloaded("joinder_acme"):
        subject = subject_of("key", tmp_path, monkeypatch)
        charts = await charts_of(subject)
    solar = next(chart for chart in charts if chart.title.startswith("solar_wh"))
    assert len(solar.said) == 96
    assert solar.said == pytest.approx(solar.truth, abs=0.01)
    assert {chart.title for chart in charts} >= {"battery_w live", "import_wh by quarter hour"}
    assert page(subject, [], charts).count("<polyline") >= 2 * len(charts) - 2


def test_every_check_has_something_to_do() -> None:
    for entry in all_checks():
        assert len(what_to_do(entry, "acme")) > 20
