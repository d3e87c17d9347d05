"""Every command as a process: exit codes, JSON on stdout, sentences on stderr, no traceback."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from cli.conftest import Shell
from joinder.store import claims
from joinder.store.engine import open_store


def test_accounts_and_clients(joinder: Shell) -> None:
    account = joinder.json("accounts", "create", "Acme Energy")[0]
    assert joinder.json("accounts", "list") == [account]
    client = joinder.json("clients", "create", "backend", "--scope", "read:sites")[0]
    shown = joinder.json("clients", "list")
    assert [(row["id"], row["account"], row["scopes"], row["revoked"]) for row in shown] == [
        (client["clientID"], account["id"], "read:sites", False)
    ]
    client_id = str(client["clientID"])
    rotated = joinder.json("clients", "rotate", client_id)[0]
    assert (rotated["clientID"], rotated["clientSecret"] == client["clientSecret"]) == (client_id, False)
    assert str(client["clientSecret"]) not in json.dumps(shown)
    assert joinder("clients", "revoke", client_id, "--dry-run").returncode == 0
    assert joinder("--no-input", "clients", "revoke", client_id).returncode == 2
    assert joinder("clients", "revoke", client_id, "--no-input").returncode == 2
    assert joinder.json("clients", "list")[0]["revoked"] is False
    assert joinder("clients", "revoke", client_id, "--yes").returncode == 0
    assert joinder.json("clients", "list", "--account", str(account["id"]))[0]["revoked"] is True
    assert joinder("clients", "rotate", client_id).returncode == 4


def test_an_account_is_renamed_and_deleted(joinder: Shell) -> None:
    account_id = str(joinder.json("accounts", "create", "Acme")[0]["id"])
    joinder.json("clients", "create", "backend")
    assert joinder("accounts", "rename", account_id, "Acme Energy").returncode == 0
    shown = joinder.json("accounts", "show")[0]
    assert (shown["name"], shown["API clients"], shown["enrollments"]) == ("Acme Energy", 1, 0)
    told = joinder("accounts", "delete", account_id, "--dry-run")
    assert (told.returncode, "1 API clients" in told.stderr, "Acme Energy" in told.stderr) == (0, True, True)
    assert joinder("accounts", "delete", account_id, "--confirm", "Acme").returncode == 1
    assert joinder.json("accounts", "list") != []
    assert joinder("accounts", "delete", account_id, "--confirm", "Acme Energy").returncode == 0
    assert joinder.json("accounts", "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("clients", "create", "x"), 3, "joinder accounts create"),
        (("clients", "create", "x", "--account", "acct-aaaaaaaaaaaaaaaa"), 3, "no such account"),
        (("clients", "revoke", "clnt-aaaaaaaaaaaaaaaa", "--yes"), 3, "no such client"),
        (("accounts", "delete", "acct-aaaaaaaaaaaaaaaa", "--dry-run"), 3, "no such account"),
        (("keys", "create"), 78, "never overwritten"),
        (("accounts", "create", "two\nlines"), 1, "printable"),
        (("enrollments", "poll", "enrl-aaaaaaaaaaaaaaaa"), 3, "this id"),
        (("backfills", "start", "enrl-aaaaaaaaaaaaaaaa"), 3, "this id"),
        (("nonsense",), 2, "No such command"),
        (("enrollment", "list"), 2, "mean 'enrollments'?"),
        (("enrollments", "lst"), 2, "mean 'list'?"),
        (("accounts", "list", "--config", "/nowhere/joinder.toml"), 78, "/nowhere/joinder.toml does not exist"),
        (("simulate", "nobody"), 2, "installed: enphase, enphasevpp, iqgateway, sma"),
    ],
)
def test_what_cannot_work_is_a_sentence_and_an_exit_code(
    joinder: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = joinder(*arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("command", "env", "says"),
    [
        ("accounts list", {"JOINDER_KEYFILE": "x"}, "did you mean JOINDER_KEY_FILE?"),
        ("serve", {"JOINDER_PUBLIC_URL": "http://example.com"}, "JOINDER_PUBLIC_URL"),
        ("serve", {"JOINDER_KEY_FILE": "/nowhere/key"}, "joinder keys create"),
        ("accounts list", {"JOINDER_KEY_FILE": "/nowhere/key"}, "joinder keys create"),
        ("accounts list", {"JOINDER_DATABASE_URL": "sqlite:////nowhere/x.sqlite3"}, "does not exist"),
        ("serve", {"JOINDER_DATABASE_URL": f"sqlite:///{__file__}"}, "cannot be used as Joinder's SQLite database"),
        ("accounts list", {"JOINDER_DATABASE_URL": f"sqlite:///{__file__}"}, "cannot be used as Joinder's SQLite"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(
    joinder: Shell, command: str, env: dict[str, str], says: str
) -> None:
    done = joinder(*command.split(), **env)
    assert (done.returncode, says in done.stderr) == (78, True), done.stderr


def test_the_wrong_key_is_refused_before_anything_is_written(joinder: Shell, tmp_path: Path) -> None:
    joinder.json("accounts", "create", "Acme")
    other = tmp_path / "other.key"
    assert joinder("keys", "create", str(other)).returncode == 0
    before = joinder.json("accounts", "list")
    done = joinder("accounts", "create", "Intruder", JOINDER_KEY_FILE=str(other))
    assert (done.returncode, "Wrong key" in done.stderr) == (78, True)
    assert joinder.json("accounts", "list") == before


def test_a_port_that_is_taken_stops_the_start(joinder: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = joinder("serve", JOINDER_PORT=port)
        assert (done.returncode, "Cannot listen" in done.stderr) == (78, True)
        done = joinder("simulate", "--port", port)
        assert (done.returncode, "--port" in done.stderr) == (1, True)


async def _claimed(database_url: str, **claims_of: str) -> None:
    store = await open_store(database_url)
    try:
        async with store.write() as session:
            for vendor, distribution in claims_of.items():
                await claims.adopt(session, vendor, distribution)
    finally:
        await store.close()


def test_vendors_that_belong_to_others_or_are_gone_say_so_until_they_are_adopted(joinder: Shell) -> None:
    joinder("keys", "create")
    asyncio.run(_claimed(joinder.env["JOINDER_DATABASE_URL"], solis="joinder-solis2", acme="joinder-acme"))
    listed = joinder("vendors", "--json")
    states = {row["vendor"]: row["state"] for row in json.loads(listed.stdout)}
    assert listed.returncode == 1
    assert states["solis"].startswith("solis belongs to joinder-solis2")
    assert states["acme"] == "gone: pip install joinder-acme"
    assert states["tesla"] == "ok"
    assert joinder("vendors", "adopt", "solis", "joinder-tesla").returncode == 3
    adopted = joinder("vendors", "adopt", "solis", "joinder-solis", "--json")
    assert json.loads(adopted.stdout)["before"] == "joinder-solis2"
    assert joinder("vendors", "solis").returncode == 0


def test_vendors_that_can_be_installed_are_listed_and_found_by_name(joinder: Shell) -> None:
    rows = json.loads(joinder("vendors", "--available", "--json", JOINDER_PLUGINS="joinder-solis").stdout)
    assert {row["distribution"] for row in rows} >= {"joinder-solis", "joinder-tesla"}
    assert "pip install DISTRIBUTION" in joinder("vendors", "--available").stderr


def test_vendors_are_listed(joinder: Shell) -> None:
    rows = joinder.json("vendors")
    names = ("enphase", "enphasevpp", "iqgateway", "sma", "smasbox", "solaredge", "solis", "tesla", "virtual")
    assert [(row["vendor"], row["state"]) for row in rows] == [(name, "ok") for name in names]
    only = joinder("vendors", JOINDER_PLUGINS="joinder-enphase")
    assert only.returncode == 0
    assert "found, not enabled" in only.stdout


def test_what_one_vendor_asks_of_whom_is_shown_with_its_callback_url(joinder: Shell) -> None:
    shown = joinder("vendors", "enphase", JOINDER_PUBLIC_URL="https://hub.example").stdout
    assert "https://hub.example/join/enphase/auth-granted" in shown
    assert "joinder credentials create enphase developerapp --from app.json" in shown
    assert {"clientID", "clientSecret", "apiKey"} <= set(shown.split())
    assert "An owner enters" in joinder("vendors", "iqgateway").stdout
    assert joinder.json("vendors", "iqgateway")[0]["consentFields"][0]["name"] == "host"  # type: ignore[index]
    assert joinder("vendors", "nobody").returncode == 3


def test_simulate_says_what_a_servers_shell_needs(joinder: Shell, tmp_path: Path) -> None:
    done = joinder("simulate", "enphase", "iqgateway", "--env", "--port", "9001")
    lines = dict(line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines())
    assert lines["JOINDER_REROUTE"].startswith("api.enphaseenergy.com=http://127.0.0.1:9001,")
    assert lines["JOINDER_ALLOWED_NETWORKS"] == "192.168.77.10/32"
    assert joinder("config", "show", **{name: value.strip("'") for name, value in lines.items()}).returncode == 0
    (tmp_path / "joinder.toml").write_text("[reroute]\n'api.enphaseenergy.com' = 'http://127.0.0.1:9123'\n")
    configured = joinder("simulate", "--env", "--config", str(tmp_path / "joinder.toml")).stdout
    assert "127.0.0.1:9123" in configured
    assert "tesla" not in configured
