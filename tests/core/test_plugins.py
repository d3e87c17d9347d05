"""S27: JOINDER_PLUGINS holds for everything that loads an entry point, takes versions, refuses what is not there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import joinder
from joinder.plugins import found, loadable
from joinder.settings import ConfigError, settings_from_env

GROUP = "joinder.vendors"
SOLIS = "joinder-solis"
CLAIMS = ("joinder.vendors", "joinder.simulators", "joinder.templates")
STRANGER = """\
import os
with open(os.environ["STRANGER_MARK"], "a") as mark:
    mark.write("imported")
import rich_click as click

@click.command()
def command():
    print("the stranger's")
"""


@pytest.fixture
def stranger(tmp_path: Path) -> dict[str, str]:
    """The environment of commands beside a distribution that claims names of ours and tells when it is imported."""
    site = tmp_path / "site"
    info = site / "aaa_stranger-3.1.dist-info"
    info.mkdir(parents=True)
    (site / "aaa_stranger.py").write_text(STRANGER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa-stranger\nVersion: 3.1\n")
    (info / "RECORD").write_text("")
    vendors = "".join(f"[{group}]\nother = aaa_stranger\nsolis = aaa_stranger\n\n" for group in CLAIMS)
    commands = "".join(f"{name} = aaa_stranger:command\n" for name in ("other", "tui", "read-gateway", "serve"))
    (info / "entry_points.txt").write_text(f"{vendors}[joinder.commands]\n{commands}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    return {
        **kept,
        "PYTHONPATH": str(site),
        "STRANGER_MARK": str(tmp_path / "mark"),
        "JOINDER_DATABASE_URL": f"sqlite:///{tmp_path}/hub.sqlite3",
        "JOINDER_KEY_FILE": str(tmp_path / "key"),
        "JOINDER_BALLAST_MIB": "0",
    }


def run(stranger: dict[str, str], *arguments: str, plugins: str | None = SOLIS) -> tuple[int, str, bool]:
    """Exit code, what was said, and whether the stranger was imported."""
    env = stranger if plugins is None else {**stranger, "JOINDER_PLUGINS": plugins}
    mark = Path(stranger["STRANGER_MARK"])
    mark.unlink(missing_ok=True)
    asked = [sys.executable, "-m", "joinder", "--no-input", *arguments]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr, mark.exists()


NEVER = (
    ("--help",),
    ("vendors",),
    ("config", "check"),
    ("check", "other"),
    ("record", "other", "--simulator"),
    ("simulate", "other"),
    ("other",),
    ("tui", "--help"),
    ("read-gateway", "--help"),
    ("serve", "--help"),
)


@pytest.mark.parametrize("arguments", NEVER, ids=" ".join)
def test_no_command_imports_what_is_not_named(stranger: dict[str, str], arguments: tuple[str, ...]) -> None:
    code, said, was_imported = run(stranger, *arguments)
    assert not was_imported, said
    assert "Traceback" not in said
    if arguments[0] == "tui":
        assert code == 0
        assert "--serve" in said
    if arguments in (("other",), ("read-gateway", "--help"), ("check", "other")):
        assert code != 0
        assert "JOINDER_PLUGINS" in said


@pytest.mark.parametrize("name", ["tui", "read-gateway", "serve"])
def test_shipped_commands_are_not_taken_over_where_everything_may_be_loaded(
    stranger: dict[str, str], name: str
) -> None:
    _, said, was_imported = run(stranger, name, "--help", plugins=None)
    assert not was_imported, said


def test_a_named_one_is_loaded(stranger: dict[str, str]) -> None:
    code, said, was_imported = run(stranger, "other", plugins="AAA_Stranger>=3,<4")
    assert (code, said.strip(), was_imported) == (0, "the stranger's", True)


@pytest.mark.parametrize("plugins", ["joinder-nobody", f"{SOLIS}==99", f"{SOLIS}, aaa-stranger>3.1", "aaa-stranger<3"])
def test_what_is_not_there_in_that_version_stops_every_command(stranger: dict[str, str], plugins: str) -> None:
    for arguments in (("vendors",), ("simulate", "solis"), ("check", "solis"), ("other",)):
        code, said, was_imported = run(stranger, *arguments, plugins=plugins)
        assert (code, was_imported) == (78, False), said
        assert said.startswith("Configuration: JOINDER_PLUGINS")


READ = {
    "": (),
    " , ": (),
    SOLIS: (SOLIS,),
    "joinder-a>=1,<2,joinder-b": ("joinder-a>=1,<2", "joinder-b"),
    "joinder-a ~= 1.4 , != 1.4.2": ("joinder-a ~= 1.4,!= 1.4.2",),
    "a==1,b==2": ("a==1", "b==2"),
}


@pytest.mark.parametrize("text", READ)
def test_versions_are_read_with_their_commas(text: str) -> None:
    assert settings_from_env({"JOINDER_PLUGINS": text}).plugins == READ[text]


@pytest.mark.parametrize(
    "text",
    ["joinder solis", "a=1", "a>=", ">=1", "a @ https://x.example/a", "a[b]", "a; python_version<'4'", "../a", "*"],
)
def test_what_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="JOINDER_PLUGINS"):
        settings_from_env({"JOINDER_PLUGINS": text})


@pytest.mark.parametrize("name", ["joinder-solis", "Joinder_Solis", "JOINDER.solis", "joinder-solis>=0,<99"])
def test_a_name_is_read_as_the_registry_of_packages_does(name: str) -> None:
    assert set(loadable(GROUP, (name,))) == {"solis", "virtual"}


def test_nothing_named_loads_what_core_brings_and_nothing_else() -> None:
    assert set(loadable(GROUP, ())) == {"virtual"}
    assert all("not enabled" in str(one.refusal) for one in found(GROUP, ()) if one.distribution != "joinder")


def test_no_other_module_looks_for_entry_points() -> None:
    """So that the list holds for whatever comes."""
    root = Path(joinder.__file__).parent
    looking = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if "entry_points" in (getattr(node, "attr", None), getattr(node, "name", None))
    }
    assert looking == {"plugins.py"}
