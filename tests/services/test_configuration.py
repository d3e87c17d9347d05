"""Settings are shown without what is secret in them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from joinder.services.operations import configuration
from joinder.services.operations.configuration import settings_shown, without_password
from joinder.settings import Settings, settings_and_origins, settings_from_env

OPERATE = Path(__file__).parents[2] / "docs/operate.md"

DATABASES = ("sqlite",)
PASSWORD = "canary"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///joinder.sqlite3", "sqlite:///joinder.sqlite3"),
        ("sqlite:////data/hub.sqlite3", "sqlite:////data/hub.sqlite3"),
        ("postgresql://db/joinder", "postgresql://db/joinder"),
        ("postgresql://me@db/joinder", "postgresql://me@db/joinder"),
        ("postgresql://me:canary@db:5433/joinder", "postgresql://me:***@db:5433/joinder"),
        ("postgresql://me:canary@[::1]:5433/joinder", "postgresql://me:***@[::1]:5433/joinder"),
        ("postgresql://me:x/canary@db/joinder", "postgresql://me:***@db/joinder"),
        ("postgresql://me:x?canary@db/joinder", "postgresql://me:***@db/joinder"),
        ("postgresql://me:x#canary@db/joinder", "postgresql://me:***@db/joinder"),
        ("postgresql://me:x:canary@db/joinder", "postgresql://me:***@db/joinder"),
        ("postgresql://me:x@canary@db/joinder", "***"),
        ("postgresql:///joinder?host=/tmp&password=canary", "postgresql:///joinder?***"),
        ("postgresql://db/joinder?password=x@canary", "postgresql://db/joinder?***"),
        ("mysql://me:canary@db/joinder", "***"),
        ("canary", "***"),
    ],
)
def test_no_password_of_a_database_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert PASSWORD not in shown


def test_every_setting_is_shown_as_its_variable_is_written() -> None:
    env = {
        "JOINDER_PLUGINS": "joinder-a,joinder-b",
        "JOINDER_REROUTE": "a=http://127.0.0.1:1,b=http://127.0.0.1:2",
        "JOINDER_CALL_LIMITS": "acme:minute=60,acme:day=5",
        "JOINDER_ALLOWED_NETWORKS": "10.0.0.0/8,fd00::/64",
        "JOINDER_PORT": "81",
    }
    shown = settings_shown(*settings_and_origins(env))
    assert [one.variable for one in shown] == [f"JOINDER_{name.upper()}" for name in Settings.__struct_fields__]
    assert {one.variable: one.value for one in shown if one.origin == "environment"} == env
    again = {one.variable: one.value for one in shown if one.value is not None}
    assert settings_from_env(again) == settings_from_env(env)


def test_the_page_says_of_every_setting_what_the_command_says() -> None:
    table = OPERATE.read_text().split("reference --markdown -->\n")[1].split("\n<!-- end -->")[0]
    assert table.strip() == configuration.as_markdown(), "joinder config reference --markdown makes it anew"


def test_every_setting_is_described_and_links_lead_somewhere() -> None:
    page = OPERATE.read_text()
    headings = {
        "".join(sign for sign in line.lstrip("# ").lower().replace(" ", "-") if sign.isalnum() or sign == "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    for name, one in configuration.reference().items():
        assert one.text.endswith("."), name
        assert one.more == "" or one.more in headings or (OPERATE.parent / one.more).is_file(), one.more


def test_the_file_to_begin_with_is_read_when_everything_in_it_is_switched_on(tmp_path: Path) -> None:
    lines = configuration.as_toml().splitlines()
    switched = [line.removeprefix("# ") for line in lines if " = " in line]
    assert list(tomllib.loads("\n".join(switched))) == list(Settings.__struct_fields__)
    path = tmp_path / "joinder.toml"
    path.write_text("\n".join(switched))
    assert settings_from_env({"JOINDER_CONFIG": str(path)}).port == Settings().port
    assert all(line.startswith("#") or not line for line in lines)
