"""`joinder init`: everything an operator begins with, or nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click
import pytest

from api.fakes import Vendors
from cli.conftest import Shell
from joinder.commands import asking
from joinder.simulate.run import free_ports_from

NAMES = ("joinder.key", "joinder.sqlite3", "joinder.toml")


@pytest.fixture
def shell(joinder: Shell, registry_of_fakes: Vendors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """In an empty working folder, with nothing set."""
    for name in ("JOINDER_DATABASE_URL", "JOINDER_KEY_FILE", "JOINDER_PUBLIC_URL", "JOINDER_CONFIG"):
        del joinder.env[name]
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return joinder


def test_one_command_makes_what_all_others_then_use(shell: Shell) -> None:
    done = shell("init", "--account", "Acme Energy", "--public-url", "https://join.example.com", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [Path(name).exists() for name in NAMES] == [True] * 3
    assert [stat.S_IMODE(Path(name).stat().st_mode) & 0o077 for name in NAMES] == [0] * 3
    assert shell.json("accounts", "list") == [{"id": made["accountID"], "name": "Acme Energy", "mode": "production"}]
    assert [row["id"] for row in shell.json("clients", "list")] == [made["clientID"]]
    shown = {row["setting"]: row for row in shell.json("config", "show", "--origin")}
    assert shown["JOINDER_PUBLIC_URL"]["value"] == "https://join.example.com"
    assert shown["JOINDER_PUBLIC_URL"]["origin"] == made["config"]
    assert made["clientSecret"] not in Path("joinder.toml").read_text()
    assert "joinder serve" in done.stderr


def test_it_may_be_another_folder_and_the_file_leads_there_from_anywhere(shell: Shell, tmp_path: Path) -> None:
    done = shell("init", "a/hub", "--account", "Acme", "--client", "app")
    assert (done.returncode, "cd a/hub" in done.stderr) == (0, True)
    secret = done.stdout.split("client secret  ")[1].split()[0]
    assert secret not in done.stderr
    assert [row["name"] for row in shell.json("clients", "list", "--config", "a/hub/joinder.toml")] == ["app"]
    assert sorted(path.name for path in Path("a/hub").iterdir() if path.suffix != ".ballast") == list(NAMES)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "--account NAME"),
        (("--account", "A", "--public-url", "http://join.example.com"), 78, "must be an https origin"),
        (("--account", "A", "--public-url", "http://127.0.0.1:x"), 78, "must be an https origin"),
        (("--account", "two\nlines"), 1, "printable"),
        (("--account", "A", "--client", " "), 1, "A client has a name"),
        (("--account", "A", "--database-url", "mysql://db/x"), 78, "must be sqlite:///FILE"),
        (("--account", "two\nlines", "--database-url", "sqlite:///other.sqlite3"), 1, "printable"),
        (("--account", "A", "--database-url", "postgresql://me:canary@db/x"), 2, "takes no password"),
        (("--account", "A", "--database-url-file", "nowhere"), 78, "cannot be read"),
        (("--account", "A", "--database-url", "sqlite:///x", "--database-url-file", "y"), 2, "keep one of them"),
        (("hub", "--account", "two\nlines"), 1, "printable"),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(shell: Shell, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = shell("init", *arguments, "--no-input")
    assert (done.returncode, says in done.stderr, "canary" in done.stderr) == (code, True, False), done.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", [*NAMES, "joinder.sqlite3-wal"])
def test_what_is_there_already_is_left_as_it_is(shell: Shell, name: str) -> None:
    Path(name).write_text("mine")
    done = shell("init", "--account", "Acme")
    assert (done.returncode, f"{name} is there already" in done.stderr) == (78, True)
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [(name, "mine")]


def test_a_file_in_the_folders_place_is_a_sentence(shell: Shell) -> None:
    Path("hub").write_text("mine")
    done = shell("init", "hub", "--account", "Acme")
    assert (done.returncode, "cannot be a folder" in done.stderr) == (1, True)
    done = shell("init", "hub/inside", "--account", "Acme")
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    assert Path("hub").read_text() == "mine"


def test_it_asks_five_questions_when_somebody_is_there(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter(["hub", "Acme", "http://127.0.0.1:8123", "sqlite:///other.sqlite3"])

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return next(answers)

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(asking, "may_ask", lambda: True)
    monkeypatch.setattr("joinder.commands.init.may_ask", lambda: True)
    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr("rich_click.prompt", prompt)
    monkeypatch.setattr("rich_click.confirm", confirm)
    assert shell("init").returncode == 0
    assert len(asked) == 5
    shown = {row["setting"]: row["value"] for row in shell.json("config", "show", "--config", "hub/joinder.toml")}
    assert shown["JOINDER_PORT"] == "8123"
    assert str(shown["JOINDER_DATABASE_URL"]).endswith("hub/other.sqlite3")


def test_what_stands_in_the_environment_is_said_to_come_over_the_file(shell: Shell) -> None:
    done = shell("init", "--account", "Acme", JOINDER_LOG_LEVEL="DEBUG")
    assert "JOINDER_LOG_LEVEL in your environment come" in done.stderr


def test_ports_that_are_taken_are_passed_over() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port not in free_ports_from(port, 2)
