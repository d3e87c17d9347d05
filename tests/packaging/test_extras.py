"""What a command lacks is named with the extra that brings it, never a traceback."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from joinder import cli, start
from joinder.missing_extra import sentence
from joinder.testing.subject import Subject
from joinder.vendors.catalogue import catalogue

PROJECT = tomllib.loads((Path(__file__).parents[2] / "core/pyproject.toml").read_text())["project"]
DECLARED = {extra: [Requirement(text) for text in texts] for extra, texts in PROJECT["optional-dependencies"].items()}


def brought_by(extra: str) -> set[str]:
    """Returns the distributions of an extra, and of the extras it is made of."""
    own = {canonicalize_name(one.name) for one in DECLARED[extra]}
    return own.union(*(brought_by(other) for one in DECLARED[extra] if one.name == "joinder" for other in one.extras))


EXTRAS = {extra: brought_by(extra) for extra in DECLARED}


MODULES = sorted(
    module
    for module, names in packages_distributions().items()
    if {canonicalize_name(name) for name in names} & {name for names in EXTRAS.values() for name in names}
    and module.isidentifier()
    and module != "py"  # a name pytest keeps
    and not module.startswith(("_", "joinder"))
)


@pytest.mark.parametrize("module", MODULES)
def test_the_extra_that_is_named_brings_the_module(module: str) -> None:
    told = sentence(ModuleNotFoundError(name=module))
    assert told is not None
    extra = told.rpartition("[")[2].rstrip("]'")
    assert {canonicalize_name(name) for name in packages_distributions()[module]} & EXTRAS[extra]


@pytest.mark.parametrize(("module", "extra"), [("asyncpg", "postgres"), ("vcr", "testing"), ("litestar", "server")])
def test_a_command_without_its_extra_says_which(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(cli, "main", lambda: __import__(module))
    with pytest.raises(SystemExit) as ended:
        start.main()
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (78, 1)
    assert told.endswith(f"pip install 'joinder[{extra}]'\n")


def test_what_no_extra_brings_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda: __import__("no_such_module_anywhere"))
    with pytest.raises(ModuleNotFoundError):
        start.main()


@pytest.mark.parametrize("vendor", [one.name for one in catalogue() if one.home.startswith("plugins/")])
def test_an_installed_plugin_brings_its_cassette_so_that_an_operator_can_check_it(vendor: str) -> None:
    folder = Subject.installed(vendor).cassettes
    assert folder is not None
    assert (folder / "flow.yaml").is_file()


def test_backup_and_doctor_of_a_sqlite_file_need_no_driver_of_another_database() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from joinder.services.operations import backup, doctor, restore\n"
        "print('imported')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "imported\n", done.stderr
