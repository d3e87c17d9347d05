"""The languages of owner pages: a file each, complete, and chosen as the owner's browser or link asks."""

from __future__ import annotations

import ast
import re
import tomllib
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable

import pytest

from joinder import virtual
from joinder.api.pages import catalogue, colours, render
from joinder.api.pages.catalogue import languages
from joinder.api.pages.render import Look
from joinder.plugins import loadable
from joinder.vendor import Flow, Vendor
from joinder.vendors.registry import ENTRY_POINT_GROUP, Registry

SENTENCES = ("language", "direction", "labels", "states", "revoked", "pages")
LANGUAGES = sorted(path.stem for path in catalogue.FOLDER.glob("*.toml"))


def leaves(said: object, place: str = "") -> dict[str, str]:
    if isinstance(said, dict):
        return {key: text for name, inner in said.items() for key, text in leaves(inner, f"{place}/{name}").items()}
    return {place: str(said)}


def sentences(tag: str) -> dict[str, str]:
    said = tomllib.loads((catalogue.FOLDER / f"{tag}.toml").read_text(encoding="utf-8"))
    return leaves({name: said[name] for name in SENTENCES})


def test_there_are_two_languages_at_least() -> None:
    assert {"de", "en"} <= set(LANGUAGES) == set(catalogue.languages())


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_catalogue_says_everything_with_the_same_placeholders(tag: str) -> None:
    english, other = sentences("en"), sentences(tag)
    assert set(other) == set(english)
    for place, text in other.items():
        assert text.strip(), place
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", english[place])), place


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES if tag != "en"])
def test_what_owners_read_of_installed_vendors_is_translated(tag: str) -> None:
    language = catalogue.languages()[tag]
    vendors = Registry.load().vendors
    assert len(vendors) >= 7
    left = [
        (vendor.name, text) for vendor in vendors for text in said_by(vendor) if not language.translated(text, vendor)
    ]
    assert left == []


def said_by(vendor: Vendor) -> list[str]:
    if vendor.flow is Flow.OPERATOR:
        return []
    fields = [text for entry in vendor.consent_fields for text in (entry.label, entry.help) if text]
    return [*vendor.reads, *vendor.consent_steps, *fields]


OURS = ("joinder", "joinder.http", "joinder.services.grants", "joinder.services.join", "joinder.services.readings")
TOLD_TO_OWNERS = ("ConsentInvalid", "AuthorizationLost", "ApprovalRefused")  # on landings and on the owner's own page


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES if tag != "en"])
def test_what_ends_an_owner_s_way_or_connection_is_translated(tag: str) -> None:
    language = catalogue.languages()[tag]
    ours = [text for package in OURS for text in raised_in(files(package))]
    left = [("joinder", text) for text in ours if text not in language.texts]
    registry = Registry.load()
    for name, entry in loadable(ENTRY_POINT_GROUP, None).items():
        if name != virtual.NAME:
            said = raised_in(files(entry.module))
            left += [(name, text) for text in said if not language.translated(text, registry.vendor(name))]
    assert len(ours) >= 5
    assert left == []


def raised_in(folder: Traversable) -> list[str]:
    """The sentences that stand in the code as they are; what is put together is told in English, as a quotation."""
    sources = [path.read_text() for path in folder.iterdir() if path.name.endswith(".py")]
    calls = [call for source in sources for call in ast.walk(ast.parse(source)) if isinstance(call, ast.Call)]
    raised = [
        call for call in calls if isinstance(call.func, ast.Name) and call.func.id in TOLD_TO_OWNERS and call.args
    ]
    return [first.value for call in raised if isinstance(first := call.args[0], ast.Constant)]


def test_a_plugin_translates_no_sentence_that_it_does_not_say() -> None:
    """A sentence that was changed in the code alone would come in English again."""
    for vendor in Registry.load().vendors:
        if vendor.texts is None:
            continue
        package = files(vendor.texts)
        code = "".join(path.read_text() for path in package.iterdir() if path.name.endswith(".py"))
        for path in (package / "texts").iterdir():
            assert [text for text in tomllib.loads(path.read_text()) if text not in code] == [], path


@pytest.mark.parametrize(
    ("asked", "accepted", "tag"),
    [
        (None, None, "en"),
        (None, "de", "de"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "en;q=0.5, de;q=0.9", "de"),
        (None, "fr-CH, fr;q=0.9, DE;q=0.7, en;q=0.3", "de"),
        (None, "de;q=0, en", "en"),
        (None, "xx", "en"),
        (None, "*", "en"),
        (None, "de;q=nonsense,en;q=0.1", "en"),
        (None, "," * 5000 + "de", "en"),
        ("de", "en", "de"),
        ("fr de en", "en", "de"),
        ("DE-de", None, "de"),
        ("xx", "de", "de"),
        ("", "de", "de"),
        ("../../etc/passwd", None, "en"),
    ],
)
def test_the_link_decides_then_the_browser(asked: str | None, accepted: str | None, tag: str) -> None:
    assert catalogue.choose(asked, accepted).tag == tag


@pytest.mark.parametrize(
    "colour", ["#000000", "#ffffff", "#ffff00", "#0b5c3b", "#7fe0b0", "#888888", "#ff0000", "#14181f"]
)
def test_any_colour_can_be_read_in_both_themes(colour: str) -> None:
    for page in ("#ffffff", "#14181f"):
        shown = colours.readable(colour, page)
        assert colours.contrast(shown, page) >= colours.READABLE
        assert colours.contrast(shown, colours.on(shown)) >= colours.READABLE


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert colours.readable("#0b5c3b", "#ffffff") == "#0b5c3b"
    assert colours.contrast("#ffffff", "#000000") == pytest.approx(21)


def test_whoever_goes_by_keys_sees_in_both_themes_where_they_are() -> None:
    """WCAG 1.4.11: the ring of focus lies on the page."""
    style = render.stylesheet().decode()
    (ring,) = re.findall(r":focus-visible \{ outline: 3px solid var\((--[a-z]+)\);", style)
    parts = re.findall(r":root \{([^}]*)\}", style)
    themes = [dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6});", part)) for part in parts]
    assert len(themes) == 2
    for theme in themes:
        assert colours.contrast(theme[ring], theme["--page"]) >= colours.READABLE


def test_a_moment_is_written_as_people_of_the_language_write_it() -> None:
    at = int(datetime(2026, 3, 1, 13, 5, tzinfo=UTC).timestamp())
    told = {tag: Look(language=one).minute(at) for tag, one in languages().items()}
    assert told == {"de": "1. März 2026, 13:05", "en": "1 March 2026, 13:05"}
    assert {len(set(one.labels["months"].split())) for one in languages().values()} == {12}
