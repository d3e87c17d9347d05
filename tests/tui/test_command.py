"""`joinder tui` as it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from joinder_tui import serving
from joinder_tui.app import JoinderApp
from joinder_tui.browser import OwnServer, authority
from joinder_tui.cli import command
from rich.console import Console


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("JOINDER_DATABASE_URL", f"sqlite:///{tmp_path}/joinder.sqlite3")
    return CliRunner()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "joinder.example.com"])  # noqa: S104 - refused
def test_a_browser_elsewhere_is_refused(runner: CliRunner, host: str) -> None:
    done = runner.invoke(command, ["--serve", "--host", host])
    assert done.exit_code == 78
    assert "no login" in done.output
    assert "ssh -L 8090:127.0.0.1:8090" in done.output


def test_on_loopback_it_is_served_with_what_was_asked(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(OwnServer, "serve", lambda server: served.append(server))
    assert runner.invoke(command, ["--serve", "--readonly", "--port", "8091"]).exit_code == 0
    (server,) = served
    assert server.command.endswith("-m joinder_tui.cli --readonly")
    assert (server.host, server.port, server.title) == ("127.0.0.1", 8091, "Joinder")
    assert serving.LOOPBACK[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "port", "written"), [("127.0.0.1", 80, "127.0.0.1"), ("::1", 8090, "[::1]:8090"), ("::1", 80, "[::1]")]
)
def test_the_origin_is_written_as_browsers_write_it(host: str, port: int, written: str) -> None:
    assert authority(host, port) == written


def test_an_unknown_theme_names_the_known_ones(runner: CliRunner) -> None:
    done = runner.invoke(command, ["--theme", "noon"])
    assert done.exit_code == 2
    assert "textual-light" in done.output


def test_options_reach_the_application(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[JoinderApp] = []

    def run(self: JoinderApp) -> int:
        opened.append(self)
        return 0

    monkeypatch.setattr(JoinderApp, "run", run)
    monkeypatch.setattr("joinder_tui.cli.is_a_terminal", lambda: True)
    assert runner.invoke(command, ["--readonly", "--theme", "nord"]).exit_code == 0
    assert opened[0].readonly
    assert opened[0].theme == "nord"


def test_its_help_begins_with_an_example(runner: CliRunner) -> None:
    assert "Example:" in runner.invoke(command, ["--help"]).output


def test_without_a_terminal_it_says_so_and_ends(runner: CliRunner) -> None:
    done = runner.invoke(command, [], input="")
    assert (done.exit_code, "needs a terminal" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("colours", "theme"), [("standard", "ansi"), ("256", "textual-dark"), ("truecolor", "textual-dark")]
)
def test_a_terminal_of_sixteen_colours_shows_its_own(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, colours: str, theme: str
) -> None:
    opened: list[JoinderApp] = []

    def run(self: JoinderApp) -> int:
        opened.append(self)
        return 0

    monkeypatch.setattr(JoinderApp, "run", run)
    monkeypatch.setattr("joinder_tui.cli.is_a_terminal", lambda: True)
    monkeypatch.setattr(Console, "color_system", colours)
    runner.invoke(command, [])
    runner.invoke(command, ["--theme", "nord"])
    assert [app.theme for app in opened] == [theme, "nord"]
