"""What a plugin's author and an operator run: check, record, new-vendor, act."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from cli.conftest import Shell
from joinder.runtime.hub import open_hub
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import installed_simulators
from joinder.simulate.run import reroute_of, running
from joinder_tesla.simulator import simulator

NOBODY = "cred-aaaaaaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("check", "nobody"), 3, "installed: "),
        (("check",), 2, "Missing argument"),
        (("record", "nobody", "--simulator"), 3, "installed: "),
        (("record", "tesla", "--credentials", __file__), 2, "is not a JSON object of texts"),
        (("record", "tesla", "--credentials", "/nowhere.json"), 2, "does not exist"),
        (("new-vendor", "Acme"), 2, "lower-case letters and digits"),
        (("new-vendor", "../acme"), 2, "lower-case letters and digits"),
        (("new-vendor", "acme", "--label", 'A"; import os'), 2, "it stands in source code"),
        (("new-vendor", "acme", "--into", os.path.dirname(__file__)), 4, "exists already"),
        (("credentials", "act", NOBODY, "register"), 3, "Nothing has this id"),
        (("credentials", "act", NOBODY, "register", "--set", "domain"), 2, "NAME=VALUE"),
    ],
)
def test_what_cannot_work_is_a_sentence_and_an_exit_code(
    joinder: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = joinder(*arguments)
    assert (done.returncode, says in " ".join(done.stderr.split())) == (code, True), done.stderr


@pytest.mark.proof
def test_a_checked_vendor_is_a_table_and_json(joinder: Shell) -> None:
    done = joinder("check", "solis", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0, [row for row in rows if row["state"] == "failed"]
    assert {row["state"] for row in rows} == {"passed", "n/a"}
    assert all(row["reason"] for row in rows if row["state"] == "n/a")


async def test_an_operator_action_is_listed_and_run(joinder: Shell, tmp_path: Path) -> None:
    tesla = simulator()
    async with running([tesla]) as origins:
        reroute = reroute_of([tesla], origins)
        settings = Settings(
            database_url=joinder.env["JOINDER_DATABASE_URL"],
            key_file=joinder.env["JOINDER_KEY_FILE"],
            reroute=reroute,
        )
        async with open_hub(settings) as hub:
            account = await accounts.create_account(hub, "Acme")
            app = dict(tesla.app_credentials or {})
            credentials = await vendor_credentials.create(hub, account.id, "test", name=None, credentials=app)
        rerouted = ",".join(f"{host}={origin}" for host, origin in reroute.items())

        async def run(verb: str, *arguments: str) -> tuple[int, str]:
            done = await asyncio.to_thread(
                joinder, "credentials", verb, credentials.id, *arguments, JOINDER_REROUTE=rerouted
            )
            return done.returncode, done.stdout + done.stderr

        listed = json.loads((await run("actions", "--json"))[1])
        assert [(row["name"], [field["name"] for field in row["fields"]]) for row in listed] == [
            ("register", ["domain"])
        ]
        assert (await run("act", "dance"))[0] == 3
        code, said = await run("act", "register", "--set", "colour=red")
        assert (code, "domain: is needed" in said, "colour: unknown member" in said) == (1, True, True)
        code, said = await run("act", "register", "--set", "domain=hub.example.com")
        assert (code, "hub.example.com" in said) == (0, True), said


def test_what_simulators_say_of_themselves_can_be_entered_and_names_no_code() -> None:
    notes = {one.vendor: note for one in installed_simulators() for note in one.notes}
    assert notes
    for vendor, note in notes.items():
        assert not re.search(r"joinder_\w+\.|\b[A-Z]\w+\.[a-z_]+|\b[A-Z]+_[A-Z]+\b", note), f"{vendor}: {note}"
        if "{" in note:
            assert json.loads(note[note.index("{") :])
