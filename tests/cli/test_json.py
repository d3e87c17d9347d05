"""What every command prints: with --json its declared answer and nothing else, without it text; never a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import msgspec
import pytest
import rich_click as click

from cli.world import SECRETS, World
from joinder.cli import COMMANDS, Commands, group
from joinder.commands.answers import ANSWERS, Answer
from joinder.errors import AuthorizationLost
from joinder.services.admin.enrollment_operations import SEVERAL
from joinder.services.grants import standing
from joinder.store.tables import Enrollment
from support import days_ago

DATABASES = ("sqlite",)  # the services' own tests ask both

# Groups without a twin in the REST API; what they print with --json is rows of their own.
ELSEWHERE = (
    *("serve", "worker", "demo", "simulate", "vendors", "check", "record", "new-vendor", "dev", "accounts", "clients"),
    *(
        "keys",
        "init",
        "report",
        "config",
        "completion",
        "backup",
        "restore",
        "reconcile",
        "doctor",
        "openapi",
        "export",
    ),
)
NEW = ("--redirect-uri", "https://a.example/")
RUNS: dict[str, tuple[str, ...]] = {
    "enrollments list": ("--filter", "vendor:sunny !nowhere home"),
    "enrollments show": ("{enrollment}",),
    "enrollments tokens": ("{enrollment}",),
    "enrollments events": ("{enrollment}",),
    "enrollments sites": ("{enrollment}",),
    **{each.command: ("{enrollment}",) for each in SEVERAL},
    "enrollments resume": ("--filter", "{enrollment}", "--yes"),
    "enrollments release": ("{broken}",),
    "enrollments label": ("{enrollment}", "--reference", "customer-7"),
    "enrollments reconnect": ("{enrollment}", "--qr"),
    "enrollments owner-link": ("{enrollment}", "--qr"),
    "enrollments revoke": ("{enrollment}", "--confirm", "{enrollment}"),
    "flows create": ("--vendor", "sunny:{credentials}", "--vendor", "boxy", "--option", "sunny.region=north", *NEW),
    "programs create": ("North", "--vendor", "sunny", "--option", "sunny.region=north"),
    "programs list": (),
    "programs show": ("{program}",),
    "programs delete": ("{program}", "--confirm", "{program}"),
    "enrollments decide": ("{enrollment}", "unenrolled", "--reason", "moved"),
    "flows list": (),
    "flows show": ("{flow}",),
    "flows link": ("{flow}", "--vendor", "sunny", "--state", "customer 7", "--qr"),
    "flows attempts": ("{flow}",),
    "flows funnel": ("{flow}",),
    "flows delete": ("{flow}", "--confirm", "{flow}"),
    "credentials create": ("sunny", "oauthclient", "--field", "clientID=x", "--from", "-"),
    "credentials list": (),
    "credentials show": ("{credentials}",),
    "credentials test": ("{credentials}",),
    "credentials rotate": ("{credentials}", "--from", "-"),
    "credentials rename": ("{credentials}", "other"),
    "credentials quota": (),
    "credentials reveal": ("{credentials}", "--reason", "a move"),
    "credentials actions": ("{credentials}",),
    "credentials act": ("{credentials}", "register", "--set", "domain=a.example"),
    "credentials delete": ("{spare}", "--confirm", "{spare}"),
    "webhooks create": ("https://other.example/",),
    "webhooks list": (),
    "webhooks show": ("{webhook}",),
    "webhooks change": ("{webhook}", "--type", "enrollment.health", "--disable"),
    "webhooks rotate": ("{webhook}",),
    "webhooks test": ("{webhook}",),
    "webhooks deliveries": ("{webhook}",),
    "webhooks replay": ("{webhook}", "{delivery}"),
    "webhooks delete": ("{webhook}", "--confirm", "{webhook}"),
    "events list": (),
    "audit list": (),
    "audit verify": (),
    "audit export": (),
    "audit prune": ("{account}", "--before", "2020-01-01", "--confirm", "{account}"),
    "backfills start": ("{enrollment}", "--start", days_ago(330)),
    "backfills list": (),
    "backfills show": ("{backfill}",),
    "backfills cancel": ("{backfill}", "--yes"),
    "sites list": (),
    "sites show": ("{site}",),
    "sites live": ("{site}",),
    "sites coverage": ("{site}",),
    "sites totals": ("--level", "15mins", "--vendor", "sunny", "--account", "{account}"),
    "sites intervals": ("{site}", "--kind", "meter", "--level", "15mins"),
    "devices list": ("{site}",),
    "devices show": ("{battery}",),
    "devices intervals": ("{inverter}",),
    "readings recheck": (),
    "status": (),
    "open": ("{flow}", "--state", "customer 7", "--no-browser"),
}
GIVEN = {
    "credentials create": '{"clientSecret": "canary-app-secret-5f3a"}',
    "credentials rotate": '{"clientSecret": "canary-app-secret-5f3a-new"}',
}
SHOWS_SECRETS = ("credentials reveal", "webhooks create", "webhooks rotate")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that is not a group, by its path."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    names = COMMANDS if isinstance(command, Commands) else command.list_commands(context)
    for name in names:
        _, found, _ = command.resolve_command(context, [name])
        assert found is not None
        yield from leaves(found, (*path, name))


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


ADMIN = {path: command for path, command in leaves(group) if path.split()[0] not in ELSEWHERE}


def test_each_command_declares_its_answer_and_is_run_here() -> None:
    with_json = {path for path, command in ADMIN.items() if "--json" in options(command)}
    assert with_json == set(ADMIN), "every command takes --json; a group of its own kind stands in ELSEWHERE"
    assert set(ANSWERS) == set(ADMIN), "say in commands/answers.ANSWERS what it answers"
    assert set(RUNS) == set(ADMIN), "say in RUNS what to run it with"


@pytest.mark.parametrize("path", ADMIN)
def test_each_begins_its_help_with_an_example_of_itself(path: str) -> None:
    first = " ".join((ADMIN[path].help or "").split("\n\n")[0].split())
    assert f"Example: joinder {path}" in first


@pytest.mark.parametrize("path", ADMIN)
def test_no_option_takes_a_secret(path: str) -> None:
    """Secrets come out of files; `--field` refuses them (test_admin.py)."""
    assert options(ADMIN[path]).isdisjoint({"--secret", "--password", "--token", "--key", "--client-secret"})


@pytest.mark.parametrize("path", [path for path in ADMIN if path.split()[-1] in ("delete", "revoke")])
def test_what_takes_away_is_typed_and_can_be_tried(path: str) -> None:
    assert options(ADMIN[path]) >= {"--confirm", "--dry-run"}


def decoded(text: str, answer: Answer) -> bool:
    """Strictly: every member is known, and none is missing."""
    for kind in answer.types:
        try:
            found = msgspec.json.decode(text, type=list[kind] if answer.many else kind)  # type: ignore[valid-type]
        except msgspec.ValidationError:
            continue
        if msgspec.to_builtins(found) == json.loads(text):
            return True
    return False


def told(text: str, answer: Answer) -> bool:
    """As `decoded`, an array's entries each of one of the types."""
    if not answer.many:
        return decoded(text, answer)
    entries = json.loads(text)
    assert isinstance(entries, list)
    return all(decoded(json.dumps(entry), Answer(answer.types)) for entry in entries)


@pytest.fixture
def world(world: World) -> World:
    """With one in quarantine, and a vendor that knows the app."""
    world.vendors.sunny.failures["handle_callback"] = AuthorizationLost("invalid_grant")

    async def quarantine() -> None:
        async with world.open() as hub:
            world.ids["broken"] = await world.enroll(hub, "owner-2", "site-2")
            async with hub.store.write() as session:
                row = await session.get(Enrollment, world.ids["broken"])
                assert row is not None
                await standing.settle(hub, session, row, "quarantined", reason="it broke")

    asyncio.run(quarantine())
    return world


@pytest.mark.parametrize("path", ANSWERS)
def test_json_is_what_was_declared(world: World, path: str) -> None:
    done = world(*path.split(), *RUNS[path], "--json", given=GIVEN.get(path))
    assert told(done.stdout, ANSWERS[path]), done.stdout
    assert json.loads(done.stdout), "nothing was shown"
    shown = done.stdout + done.stderr
    assert [secret for secret in SECRETS if secret in shown] == [] or path in SHOWS_SECRETS


@pytest.mark.parametrize("path", ANSWERS)
def test_text_is_for_people(world: World, path: str) -> None:
    done = world(*path.split(), *RUNS[path], given=GIVEN.get(path))
    assert "{" not in done.stdout or path == "audit export"  # for programs that compare it
    assert done.stdout or path.split()[-1] in ("delete", "revoke") or path in [each.command for each in SEVERAL]
    shown = done.stdout + done.stderr
    assert [secret for secret in SECRETS if secret in shown] == [] or path in SHOWS_SECRETS
