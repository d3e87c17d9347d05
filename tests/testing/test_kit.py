"""The conformance kit itself: the template vendor passes every check, and each check finds the vendor broken for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bad_vendors import BAD, PREAMBLE, longhand
from effort import some
from joinder.templates import FILES, render
from joinder.testing.checks import Check, all_checks, run
from joinder.testing.record import record_simulated
from joinder.testing.subject import Subject
from joinder.vendors.registry import ENTRY_POINT_GROUP
from sound_vendors import VARIANTS, change
from support import unloaded

CHECKS = {entry.name: entry for entry in all_checks()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place to render a vendor to, importable while the test runs."""
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.delenv("CI", raising=False)  # a cassette of a made-up vendor may be recorded anywhere
    with unloaded("joinder_acme"):
        yield tmp_path


ONLY_OF = {"registers_are_true": "without history"}  # checks that are for another kind of vendor than the template
KIND_OF = {"another_device_is_nobody": "local"}  # and for another template


def rendered(folder: Path, check: str | None = None, variant: str | None = None, kind: str = "oauth") -> Subject:
    """The template vendor or a variant of it, or the one that is broken for `check`."""
    kind = KIND_OF.get(check or "", kind)
    render("acme", "Acme", folder, kind)
    change(folder, VARIANTS.get(variant or ONLY_OF.get(check or "", ""), ()))
    if check is not None:
        if kind == "oauth":
            longhand(folder)
        bad = BAD[check]
        text = (folder / bad.file).read_text()
        assert bad.old in text, f"{bad.file} no longer holds {bad.old!r}"
        changed = text.replace(bad.old, bad.new)
        future = "from __future__ import annotations\n"
        (folder / bad.file).write_text(changed.replace(future, future + PREAMBLE.get(bad.file, ""), 1))
    importlib.invalidate_caches()
    return Subject(
        name="acme",
        entry=EntryPoint(name="acme", value="joinder_acme", group=ENTRY_POINT_GROUP),
        make_simulator=lambda: importlib.import_module("joinder_acme.simulator").simulator(),
        cassettes=folder / "tests/cassettes",
    )


@pytest.mark.parametrize("entry", CHECKS.values(), ids=lambda entry: entry.name)
async def test_the_template_passes(entry: Check, folder: Path) -> None:
    outcome = await run(entry, rendered(folder, variant=ONLY_OF.get(entry.name), kind=KIND_OF.get(entry.name, "oauth")))
    assert (outcome.state, outcome.reason) == ("passed", "")


@pytest.mark.parametrize("variant", some(VARIANTS))
async def test_sound_vendors_of_other_kinds_raise_no_alarm(variant: str, folder: Path) -> None:
    subject = rendered(folder, variant=variant)
    subject.cassettes = folder / "new"
    await record_simulated(subject, subject.cassettes)
    quick = [entry for entry in CHECKS.values() if entry.group not in ("static", "authorize", "failures")]
    outcomes = [await run(entry, subject) for entry in quick]
    assert [(one.check.name, one.reason) for one in outcomes if one.state == "failed"] == []


async def test_coordinates_that_are_swapped_are_seen(folder: Path) -> None:
    subject = rendered(folder, variant="without a time zone")
    mapping = folder / "src/joinder_acme/mapping.py"
    mapping.write_text(
        mapping.read_text().replace("lat=details.lat, lon=details.lon", "lat=details.lon, lon=details.lat")
    )
    outcome = await run(CHECKS["devices_are_true"], subject)
    assert (outcome.state, "swapped" in outcome.reason) == ("failed", True)


@pytest.mark.parametrize("entry", CHECKS.values(), ids=lambda entry: entry.name)
async def test_each_check_finds_the_vendor_broken_for_it(entry: Check, folder: Path) -> None:
    outcome = await run(entry, rendered(folder, entry.name))
    assert outcome.state == "failed"
    assert outcome.reason


def test_every_check_has_its_broken_vendor_and_a_promise() -> None:
    assert set(BAD) == set(CHECKS)
    assert all(entry.promise.endswith(".") for entry in CHECKS.values())
    print(f"\n{len(CHECKS)} checks, each with a vendor that only it must refuse")


def test_a_vendor_is_small() -> None:
    for files in FILES.values():
        assert len([file for file in files if file.endswith((".py", ".yaml"))]) <= 7


async def test_a_skip_needs_a_known_check_and_a_reason(folder: Path) -> None:
    subject = rendered(folder)
    make = subject.make_simulator
    assert make is not None
    for skips, state in (
        ({"levels_agree": "its days are estimates"}, "skipped"),
        ({"levels_agree": " "}, "failed"),
        ({"levels_disagree": "no such check"}, "failed"),
    ):
        simulator = make()
        simulator.conformance_skips = skips
        subject.make_simulator = lambda simulator=simulator: simulator  # type: ignore[misc]
        outcome = await run(CHECKS["levels_agree"], subject)
        assert outcome.state == state


async def test_without_a_simulator_or_cassette_nothing_passes_by_being_absent(folder: Path) -> None:
    subject = rendered(folder)
    subject.cassettes = folder / "nowhere"
    assert (await run(CHECKS["cassette_plays_whole"], subject)).state == "failed"
    subject.make_simulator = None
    assert (await run(CHECKS["site_is_normalised"], subject)).state == "failed"
