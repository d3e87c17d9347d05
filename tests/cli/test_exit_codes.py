"""What a script can tell from an exit code: as documented, over all commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.conftest import Shell
from joinder import cli
from joinder.commands.running import on_settings
from joinder.errors import AppCredentialsRejected, AuthorizationLost, RateLimited, TransientError
from joinder.observe import logs
from joinder.services.refusals import Conflict, NotFound, Unprocessable
from joinder.settings import ConfigError, Settings

CODES = {name: code for name, code in vars(cli).items() if name.startswith("EXIT_")}
RAISED = [
    (Unprocessable("no"), cli.EXIT_FAILED),
    (NotFound("no"), cli.EXIT_NOT_FOUND),
    (Conflict("no"), cli.EXIT_CONFLICT),
    (AuthorizationLost("no"), cli.EXIT_REFUSED),
    (AppCredentialsRejected("no"), cli.EXIT_REFUSED),
    (TransientError("no"), cli.EXIT_VENDOR),
    (RateLimited("no"), cli.EXIT_VENDOR),
]


@pytest.mark.parametrize(("error", "code"), RAISED, ids=lambda value: type(value).__name__)
def test_a_refusal_is_a_sentence_and_its_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "configure", lambda *_: None)

    async def work(_: Settings) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        on_settings(work)
    assert (ended.value.code, capsys.readouterr()) == (code, ("", "no\n"))


def test_a_setting_that_cannot_work_ends_with_78(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def group(**_: object) -> None:
        raise ConfigError("no")

    monkeypatch.setattr(cli, "group", group)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (78, "Configuration: no\n")


def test_what_went_well_is_0_and_a_wrong_use_is_2(joinder: Shell) -> None:
    assert joinder("keys", "--help").returncode == 0
    assert joinder("keys", "--nonsense").returncode == cli.EXIT_USAGE


def test_the_codes_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/operate.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page.split("## Exit codes")[1], re.MULTILINE)}
    assert told == {0, *CODES.values()}
    assert sorted(CODES.values()) == [1, 2, 3, 4, 5, 6, 7, 75, 78]
    said = cli.group.help or ""
    assert all(re.search(rf"\b{code} \w", said) for code in told)
