"""What an admin does by hand: refusals with their exit codes, many at once, secrets kept off the command line."""

from __future__ import annotations

import asyncio
import json
import webbrowser
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import segno
from msgspec.structs import replace

from api.fakes import APP_SECRET, HOME
from cli.world import World
from joinder.commands import backfills, events
from joinder.commands.admin import Owner, over_accounts
from joinder.errors import AppCredentialsRejected, AuthorizationLost, RateLimited, TransientError
from joinder.runtime.hub import Hub
from joinder.services.calls.breaker_states import Told
from joinder.services.calls.breakers import THRESHOLD, Breakers
from joinder.services.grants import standing
from joinder.services.join import enrollments, join_sessions
from joinder.services.join.join_sessions import Started
from joinder.services.readings import backfill
from joinder.services.records import accounts, health
from joinder.services.records import events as event_service
from joinder.store.tables import Enrollment, SiteRow
from services.test_breakers import fail
from support import days_ago

DATABASES = ("sqlite",)  # the services' own tests ask both
NOBODY = {
    "enrollments": "enrl-aaaaaaaaaaaaaaaa",
    "flows": "flow-aaaaaaaaaaaaaaaa",
    "credentials": "cred-aaaaaaaaaaaaaaaa",
    "webhooks": "whep-aaaaaaaaaaaaaaaa",
    "backfills": "fill-aaaaaaaaaaaaaaaa",
    "sites": "site-aaaaaaaaaaaaaaaa",
    "devices": "solr-aaaaaaaaaaaaaaaa",
}


def on(world: World, work: Callable[[Hub], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with world.open() as hub:
            return await work(hub)

    return asyncio.run(run())


def change(world: World, enrollment_id: str, state: str) -> None:
    async def work(hub: Hub) -> None:
        async with hub.store.write() as session:
            row = await session.get(Enrollment, enrollment_id)
            assert row is not None
            await standing.settle(hub, session, row, state, reason="it broke")  # type: ignore[arg-type]

    on(world, work)


def more(world: World, count: int) -> list[str]:
    """Further enrollments, each with a site of its own."""

    homes = {f"other-{number}": replace(HOME, vendor_id=f"other-{number}") for number in range(count)}
    world.vendors.sunny.homes |= homes

    async def work(hub: Hub) -> list[str]:
        found = [await world.enroll(hub, name, name) for name in homes]
        await hub.store.apply(("UPDATE site SET fetched_at = 1 WHERE fetched_at IS NULL", {}))
        return found

    found: list[str] = on(world, work)
    return found


def audits(world: World) -> list[tuple[str, str]]:
    """Actor and action of what commands did."""
    rows = world.json("audit", "list")
    return [(row["actor"], row["action"]) for row in rows if row["actor"] == "command line"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("enrollments", verb)
            for verb in ("show", "tokens", "events", "sites", "reconnect", "refresh", "poll", "pause", "release")
        ),
        ("enrollments", "revoke", "--dry-run"),
        *(("flows", verb) for verb in ("show", "link", "attempts")),
        ("flows", "delete", "--dry-run"),
        *(("credentials", verb) for verb in ("show", "test", "quota", "actions")),
        ("credentials", "reveal", "--reason", "x"),
        ("credentials", "delete", "--dry-run"),
        *(("webhooks", verb) for verb in ("show", "rotate", "test", "deliveries")),
        ("webhooks", "change", "--enable"),
        ("webhooks", "replay", "dlvy-aaaaaaaaaaaaaaaa"),
        ("backfills", "show"),
        ("backfills", "cancel", "--yes"),
        *(("sites", verb) for verb in ("show", "live", "intervals")),
        *(("devices", verb) for verb in ("show", "intervals")),
    ],
)
def test_what_is_not_there(world: World, arguments: tuple[str, ...]) -> None:
    group, verb, *options = arguments
    for row_id in (NOBODY[group], "nonsense"):
        done = world(group, verb, row_id, *options, code=3)
        assert done.stdout == ""
        assert done.stderr.strip()


def test_lists_of_an_account_that_is_not_there(world: World) -> None:
    for group in ("enrollments", "flows", "credentials", "webhooks", "backfills", "sites", "events", "audit"):
        assert "no such account" in world(group, "list", "--account", "acct-x", code=3).stderr, group


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("enrollments", "release", "{enrollment}"), 4, "not in quarantine"),
        (("enrollments", "list", "--filter", "vender:x"), 1, "Did you mean vendor:…?"),
        (("enrollments", "pause"), 2, "ids, or --filter"),
        (("enrollments", "pause", "{enrollment}", "--filter", "x"), 2, "ids, or --filter"),
        (("enrollments", "pause", "--filter", "vendor:sunny"), 2, "give --yes"),
        (("enrollments", "revoke", "{enrollment}"), 2, "give --confirm enrl-"),
        (("enrollments", "revoke", "{enrollment}", "--confirm", "x"), 1, "Nothing was done"),
        (("enrollments", "reconnect", "{enrollment}", "--redirect-uri", "https://evil.example/"), 1, "redirectURI"),
        (("flows", "link", "{flow}", "--vendor", "cloudy"), 1, "offers sunny, boxy"),
        (("flows", "link", "{flow}", "--state", "x" * 1025), 1, "at most 1024"),
        (("flows", "create", "--vendor", "sunny", "--redirect-uri", "ftp://x"), 1, "redirectURI: must be https"),
        (("flows", "create", "--vendor", "x", "--redirect-uri", "https://x.y/", "--option", "y.z=1"), 2, "VENDOR.NAME"),
        (("flows", "create", "--redirect-uri", "https://x.y/"), 2, "--vendor"),
        (("credentials", "create", "nobody", "app"), 1, "Unknown vendor"),
        (("credentials", "create", "sunny", "nothing", "--from", "/nowhere"), 1, "cannot be read"),
        (("credentials", "reveal", "{credentials}"), 2, "--reason"),
        (("credentials", "reveal", "{credentials}", "--reason", " "), 1, "reason is empty"),
        (("credentials", "act", "{credentials}", "register"), 1, "domain"),
        (("credentials", "act", "{credentials}", "register", "--set", "domain"), 2, "NAME=VALUE"),
        (("credentials", "act", "{credentials}", "register", "--set", "domain=away.example"), 6, "Sunny is away"),
        (("credentials", "act", "{credentials}", "nothing"), 3, "exists"),
        (("credentials", "delete", "{credentials}", "--confirm", "{credentials}"), 4, "In use by 1 join flow"),
        (("webhooks", "create", "http://hook.example/"), 1, "must be https"),
        (("webhooks", "create", "https://hook.example/", "--type", "nothing"), 1, "unknown type"),
        (("webhooks", "change", "{webhook}"), 2, "Nothing to change"),
        (("webhooks", "replay", "{webhook}"), 2, "--since"),
        (("webhooks", "deliveries", "{webhook}", "--status", "x"), 1, "must be one of"),
        (("backfills", "start", "{enrollment}", "--start", "2999-01-01"), 2, "such as 20"),
        (("backfills", "start", "{enrollment}", "--start", "2006-01-01T00:00:00"), 2, "such as 20"),
        (("backfills", "start", "{enrollment}", "--end", "2001-01-01", "--start", "2002-01-01"), 1, "before end"),
        (("sites", "intervals", "{site}", "--start", "2000-01-01", "--end", "2006-01-01"), 1, "spans at most"),
        (("sites", "intervals", "{site}", "--level", "year"), 2, "15mins"),
    ],
)
def test_refusals_are_a_sentence_and_an_exit_code(
    world: World, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = world(*arguments, code=code)
    assert (done.stdout, says in done.stderr) == ("", True), done.stderr


def test_many_at_once_and_the_code_when_some_did_not_work(world: World) -> None:
    ids = more(world, 3)
    world("enrollments", "pause", ids[0])
    done = world("enrollments", "poll", *ids, NOBODY["enrollments"], "--json", code=7)
    assert [row["id"] for row in json.loads(done.stdout)] == ids[1:]
    assert f"{ids[0]}: The operator paused this enrollment" in done.stderr
    assert "2 of 4 polled." in done.stderr
    assert world("enrollments", "poll", ids[0], code=4)
    assert world("enrollments", "poll", ids[0], NOBODY["enrollments"], code=1)
    world.vendors.sunny.failures["fetch_readings"] = TransientError("away")
    assert "away" in world("enrollments", "poll", *ids[1:], code=6).stderr


def test_what_fits_a_filter_is_named_before_it_is_touched(world: World) -> None:
    ids = [world.ids["enrollment"], *more(world, 12)]
    tried = world("enrollments", "pause", "--filter", "vendor:sunny", "--dry-run")
    assert "13 enrollments will be paused" in tried.stderr
    assert "and 3 others" in tried.stderr
    assert world.json("enrollments", "list", "--filter", "is:paused") == []
    paused = world.json("enrollments", "pause", "--filter", "vendor:sunny", "--yes")
    assert {row["id"] for row in paused} == set(ids)
    assert all(row["health"]["pausedSince"] for row in paused)
    assert len(world.json("enrollments", "resume", "--filter", "is:paused", "--yes")) == 13
    assert audits(world).count(("command line", "enrollment.pause")) == 13
    assert "0 enrollments" in world("enrollments", "pause", "--filter", "nowhere", "--yes").stderr


def test_pages_and_limits(world: World) -> None:
    more(world, 4)
    done = world("enrollments", "list", "--limit", "2", "--json")
    assert (len(json.loads(done.stdout)), done.stderr) == (2, "2 of 5; --all for the others.\n")
    assert len(world.json("enrollments", "list", "--limit", "2", "--all")) == 5
    assert len(world.json("sites", "list", "--limit", "2")) == 2
    assert len(world.json("sites", "list", "--limit", "2", "--all")) == 5
    assert world.json("enrollments", "list", "--faults") == []


async def test_pages_over_accounts_to_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joinder.commands.admin.PAGE", 2)
    async with world.open() as hub:
        other = (await accounts.create_account(hub, "Other")).id
        rows = {world.ids["account"]: ["a", "b", "c", "d"], other: ["x"]}

        async def page(account: str, after: str, limit: int) -> list[str]:
            return [row for row in rows[account] if row > after][:limit]

        found = await over_accounts(hub, None, page, str)
        assert sorted((owner.id, row) for owner, row in found) == sorted(
            (account, row) for account, each in rows.items() for row in each
        )
        assert await over_accounts(hub, other, page, str) == [(Owner(other, "Other"), "x")]
        assert len(await over_accounts(hub, None, page, str, most=3)) == 3


def test_release_lets_out(world: World) -> None:
    change(world, world.ids["enrollment"], "quarantined")
    assert "release it" in world("enrollments", "show", "{enrollment}").stdout
    (released,) = world.json("enrollments", "release", "{enrollment}")
    assert released["health"]["state"] == "ok"


def test_a_secret_is_taken_from_a_file_or_standard_input_only(world: World, tmp_path: Path) -> None:
    new = ("credentials", "create", "sunny", "oauthclient")
    refused = world(*new, "--field", "clientID=x", "--field", "clientSecret=canary-typed", code=1)
    assert "clientSecret with --from" in refused.stderr
    assert "canary" not in refused.stderr
    file = tmp_path / "app.json"
    file.write_text("{}")
    assert "nothing to change" in world("credentials", "rotate", "{credentials}", "--from", str(file), code=2).stderr
    for text in ('{"clientSecret": "canary-half', '["canary-list"]', '"canary-text"', "canary", "", '{"a": 1}'):
        file.write_text(text)
        for command in (new, ("credentials", "rotate", "{credentials}")):
            done = world(*command, "--from", str(file), code=1 if text == '{"a": 1}' else 2)
            assert "canary" not in done.stderr + done.stdout
    file.write_bytes(b"\xff\xfe")
    assert "not a text" in world(*new, "--from", str(file), code=1).stderr
    file.write_text('{"clientID": "x", "clientSecret": "canary-from-file"}')
    made = world.json(*new, "--from", str(file), "--name", "from a file")
    assert made["credentials"] == {"vendor": "sunny", "type": "oauthclient"}
    shown = world.json("credentials", "reveal", made["id"], "--reason", "to see")
    assert shown["credentials"]["clientSecret"] == "canary-from-file"
    assert len(world.json("credentials", "list")) == 3


def test_an_action_takes_a_secret_from_a_file_too(world: World, tmp_path: Path) -> None:
    (register,) = world.vendors.sunny.vendor.operator_actions
    sealed = tuple(replace(entry, secret=entry.name == "note") for entry in register.fields)
    actions = (replace(register, fields=sealed),)
    world.vendors.sunny.vendor = replace(world.vendors.sunny.vendor, operator_actions=actions)
    act = ("credentials", "act", "{credentials}", "register", "--set", "domain=a.example")
    refused = world(*act, "--set", "note=canary-typed", code=1)
    assert ("note with --from" in refused.stderr, "canary" in refused.stderr) == (True, False)
    file = tmp_path / "values.json"
    file.write_text('{"note": "canary-from-file"}')
    assert world.json(*act, "--from", str(file)) == {"message": "a.example is registered for app-1"}


def test_rotating_keeps_what_is_left_out(world: World) -> None:
    world("credentials", "rotate", "{credentials}", "--from", "-", given='{"clientSecret": "canary-next"}')
    shown = world.json("credentials", "reveal", "{credentials}", "--reason", "to see")
    assert shown["credentials"] == {
        "vendor": "sunny",
        "type": "oauthclient",
        "clientID": "app-1",
        "clientSecret": "canary-next",
    }
    assert shown["name"] == "main"
    (entry,) = [row for row in world.json("audit", "list") if row["action"] == "credentials.reveal"]
    assert (entry["actor"], entry["reason"], entry["target"]) == ("command line", "to see", world.ids["credentials"])
    assert "vendor: cannot be changed" in world(
        "credentials", "rotate", "{credentials}", "--from", "-", given='{"vendor": "boxy"}', code=1
    ).stderr.replace("credentials/", "")
    assert world.json("credentials", "rename", "{credentials}", "")["name"] == ""


def test_asking_a_vendor_about_credentials(world: World) -> None:
    world.vendors.sunny.failures["handle_callback"] = AuthorizationLost("invalid_grant")
    assert "accepts" in world.json("credentials", "test", "{credentials}")["message"]
    world.vendors.sunny.failures["handle_callback"] = AppCredentialsRejected("The vendor refuses this app")
    assert "refuses this app" in world("credentials", "test", "{credentials}", code=5).stderr
    assert APP_SECRET not in world("credentials", "test", "{credentials}", code=5).stderr


def test_what_may_still_be_called(world: World) -> None:
    async def spend(hub: Hub) -> None:
        limits = replace(hub.registry.vendor("sunny").limits, calls_per_month=1000)
        meter = hub.budgets.meter(world.ids["credentials"], limits)
        async with meter.call(exchange=False):
            pass
        await meter.limited(timedelta(hours=1))

    on(world, spend)
    (found,) = world.json("credentials", "quota", "{credentials}")
    assert found["blockedUntil"].endswith("Z")
    assert len(world.json("credentials", "quota")) == 2
    assert "blocked until" in world("credentials", "quota").stdout


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "list"),
        ("backfills", "list"),
        ("credentials", "list"),
        ("enrollments", "list"),
        ("flows", "attempts"),
        ("flows", "funnel"),
        ("flows", "list"),
        ("programs", "list"),
        ("sites", "list"),
        ("webhooks", "list"),
    ],
    ids=" ".join,
)
def test_tables_tell_an_account_by_its_name_beside_its_id(world: World, command: tuple[str, ...]) -> None:
    assert f"Acme {world.ids['account']}" in world(*command).stdout
    assert "Acme " not in world(*command, "--json").stdout


@pytest.mark.parametrize("is_opened", [True, False])
def test_a_link_is_opened_or_says_that_it_could_not_be(
    world: World, monkeypatch: pytest.MonkeyPatch, is_opened: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or is_opened)
    done = world("open", "{flow}")
    assert asked == [done.stdout.strip()]
    assert ("open the link yourself" in done.stderr) is not is_opened


def test_a_long_name_of_an_account_is_cut_and_its_id_is_not() -> None:
    assert Owner("acct-aaaaaaaaaaaaaaaa", "Sunny " * 10).told == "Sunny Sunny Sunny Sunny… acct-aaaaaaaaaaaaaaaa"


def test_a_new_thing_needs_an_account(world: World) -> None:
    on(world, lambda hub: accounts.create_account(hub, "Other"))
    new = ("webhooks", "create", "https://other.example/")
    assert "--account" in world(*new, code=1).stderr
    made = world.json(*new, "--account", "{account}")
    assert [row["id"] for row in world.json("webhooks", "list", "--account", "{account}")].count(made["id"]) == 1
    assert "account" in world("webhooks", "list").stdout
    piped = world.json("webhooks", "create", "-", "--account", "{account}", given="https://x.example/canary\n")
    assert piped["url"] == "https://x.example/canary"


def test_ending_an_enrollment_says_what_goes(world: World) -> None:
    tried = world("enrollments", "revoke", "{enrollment}", "--dry-run")
    assert "1 site: Home" in tried.stderr
    assert "4 devices" in tried.stderr
    assert int(tried.stderr.split(" intervals")[0].rsplit(" ", 1)[1]) > 90
    assert "Sunny <Home> cannot be told: the owner ends the consent there." in tried.stderr
    world("enrollments", "show", "{enrollment}")
    ended = world("enrollments", "revoke", "{enrollment}", "--confirm", world.ids["enrollment"], "--json")
    assert json.loads(ended.stdout) == {
        "deleted": world.ids["enrollment"],
        "consent": "owner ends it at the vendor",
    }
    assert "the owner ends the consent there" in ended.stderr
    world("enrollments", "show", "{enrollment}", code=3)
    assert world.json("sites", "list") == []
    assert ("command line", "enrollment.delete") in audits(world)


def test_nothing_is_deleted_by_trying(world: World) -> None:
    for group, kind in (("flows", "flow"), ("credentials", "credentials"), ("webhooks", "webhook")):
        before = world.json(group, "list")
        tried = world(group, "delete", world.ids[kind], "--dry-run")
        assert tried.stdout == ""
        assert world.ids[kind] in tried.stderr
        assert world.json(group, "list") == before
    assert "1 owner under way" in world("flows", "delete", "{flow}", "--dry-run").stderr
    assert "1 enrollment it made" in world("flows", "delete", "{flow}", "--dry-run").stderr


def test_links_as_qr_codes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    make = segno.make
    monkeypatch.setattr(segno, "make", lambda url, **options: drawn.append(url) or make(url, **options))
    for arguments in (("flows", "link", "{flow}"), ("enrollments", "reconnect", "{enrollment}")):
        plain, with_code = world(*arguments), world(*arguments, "--qr")
        assert plain.stderr == ""
        assert drawn.pop() == with_code.stdout.strip()
        assert "█" in with_code.stderr
    link = world.json("flows", "link", "{flow}", "--vendor", "boxy", "--state", "a&b c")["url"]
    assert link.endswith(f"/join/flows/{world.ids['flow']}/authorize?vendor=boxy&state=a%26b+c")


def test_what_vendors_named_does_not_steer_the_terminal(world: World) -> None:
    async def rename(hub: Hub) -> None:
        async with hub.store.write() as session:
            row = await session.get(SiteRow, world.ids["site"])
            assert row is not None
            row.name, row.fetched_at = "evil\x1b]0;x\x07\x9b2J\nsite", 1

    on(world, rename)
    for arguments in (
        ("enrollments", "list"),
        ("sites", "list"),
        ("sites", "show", "{site}"),
        ("enrollments", "sites", "{enrollment}"),
        ("enrollments", "revoke", "{enrollment}", "--dry-run"),
    ):
        done = world(*arguments)
        assert "evil�]0;x��2J�site" in done.stdout + done.stderr, arguments
        assert {"\x1b", "\x07", "\x9b"}.isdisjoint(done.stdout + done.stderr)
    assert world.json("sites", "show", "{site}")["name"].startswith("evil�")  # checked when it is read back


def test_waiting_for_a_backfill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfills, "LOOK_EVERY_S", 0.01)
    done = world("backfills", "start", "{enrollment}", "--start", days_ago(28), "--wait", "--json")
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["percent"]) == ("done", 100.0)
    assert done.stderr.splitlines()[-1].startswith("100.0 %")
    world("backfills", "cancel", "{backfill}", "--yes", code=4)


def test_while_it_waits_it_says_until_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfills, "LOOK_EVERY_S", 0.01)
    world.vendors.sunny.failures["fetch_readings"] = RateLimited("No calls left", retry_after=timedelta(hours=2))

    async def end(hub: Hub, *_: object) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            await backfill.cancel(hub, world.ids["account"], "test", world.ids["backfill"])
        return await get(hub, *_)  # type: ignore[arg-type]

    looks, get = 0, backfill.get
    monkeypatch.setattr(backfill, "get", end)
    done = world("backfills", "start", "{enrollment}", "--wait")
    assert "waits until 2" in done.stderr
    assert "No calls left" in done.stderr
    assert "cancelled" in done.stdout


def test_watching_events(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before, then what comes, each once, until it is stopped."""
    before = world.json("events", "list")
    rounds = 0

    async def happen(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 4:
            raise KeyboardInterrupt
        async with world.open() as hub, hub.store.write() as session:
            row = await session.get(Enrollment, world.ids["enrollment"])
            assert row is not None
            health.write_event(session, row, "enrollment.health", {"from": "ok", "to": f"round-{rounds}"})

    monkeypatch.setattr(events, "pause", happen)
    done = world("events", "list", "--follow", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["id"] for line in lines[: len(before)]] == [row["id"] for row in before]
    assert [line["data"]["to"] for line in lines[len(before) :]] == ["round-1", "round-2", "round-3"]
    rounds = 0
    text = world("events", "list", "--follow", "--type", "enrollment.health", "--limit", "1").stdout
    earlier, *later = [line.split("ok → ")[1] for line in text.splitlines()]
    assert earlier.startswith("round-")  # of the same second: any of them may be the last
    assert later == ["round-1", "round-2", "round-3"]


def test_events_can_be_narrowed(world: World) -> None:
    (other,) = more(world, 1)
    assert {row["data"].get("enrollmentID") for row in world.json("events", "list", "--enrollment", other)} == {other}
    kinds = {row["type"] for row in world.json("events", "list", "--type", "webhook.test")}
    assert kinds == {"webhook.test"}
    assert world.json("events", "list", "--limit", "1")[0]["id"] == world.json("events", "list")[-1]["id"]
    assert {row["target"] for row in world.json("audit", "list", "--target", other)} == {other}


def test_replaying_what_failed(world: World) -> None:
    world("webhooks", "change", "{webhook}", "--disable")
    assert {row["status"] for row in world.json("webhooks", "deliveries", "{webhook}")} == {"failed"}
    assert "switch it on" in world("webhooks", "replay", "{webhook}", "--since", days_ago(330), code=4).stderr
    world("webhooks", "change", "{webhook}", "--enable")
    assert world.json("webhooks", "replay", "{webhook}", "--since", days_ago(330)) == {"deliveries": 3}
    assert len(world.json("webhooks", "deliveries", "{webhook}", "--status", "pending")) == 3


def test_a_year_of_days_is_one_answer(world: World) -> None:
    year = ("--start", days_ago(393), "--end", days_ago(28))
    found = world.json("sites", "intervals", "{site}", "--level", "day", *year)
    assert len(found["intervals"]) == 366  # widened to whole days of the site's zone
    assert "nextPageToken" not in found
    starts = [each["start"] for each in found["intervals"]]
    assert starts == sorted(set(starts))


def test_a_vendor_that_is_away_is_exit_code_6(world: World) -> None:
    world.vendors.sunny.failures["refresh"] = TransientError("Sunny is away")
    done = world("enrollments", "refresh", "{enrollment}", code=6)
    assert "Sunny is away" in done.stderr
    world.vendors.sunny.failures["fetch_readings"] = TransientError("Sunny is away")
    stale = world("sites", "intervals", "{site}", "--start", days_ago(6), "--json")
    assert json.loads(stale.stdout)["stale"] is True
    assert "did not answer" in stale.stderr


def test_the_first_screen(world: World) -> None:
    ids = more(world, 3)
    change(world, ids[0], "needs_consent")
    change(world, ids[1], "quarantined")
    world("enrollments", "pause", ids[2])
    status = world.json("status")
    assert (status["enrollments"], status["paused"]) == (4, 1)
    assert status["mustAct"] == {"operator": 1, "owner": 1, "vendor": 0}
    assert sum(status["lastDay"]["polled"]) == 1
    text = world("status").stdout
    assert "waiting for: 1 the operator, 1 the owner" in text


def test_vendors_that_do_not_answer_stand_in_the_status(world: World) -> None:
    async def tell() -> None:
        breakers = Breakers()
        await fail(breakers, THRESHOLD)
        async with world.open() as hub:
            await Told(hub.store, breakers, "a worker").tell()

    assert world.json("status")["openBreakers"] == []
    assert "Not called now" not in world("status").stdout
    asyncio.run(tell())
    (one,) = world.json("status")["openBreakers"]
    assert (one["vendor"], one["hook"], one["state"]) == ("sunny", "fetch_site", "opened")
    assert "Not called now" in world("status").stdout
    assert "Vendors that do not answer" in world("status", "--html").stdout


async def test_why_owners_fail_is_shown_until_somebody_joins(world: World) -> None:
    async with world.open() as hub:
        for error in ("invalid_scope", "invalid_scope", "access_denied"):
            started = await join_sessions.start(hub, world.ids["flow"], "sunny")
            assert isinstance(started, Started)
            state = parse_qs(urlsplit(started.url).query)["state"][0]
            cookies = {started.cookie_name: started.cookie}
            await join_sessions.finish_redirect(hub, "sunny", {"state": state, "error": error}, cookies)
    text = await asyncio.to_thread(lambda: world("flows", "attempts", "{flow}").stdout)
    assert text.count("app_refused") == 2
    found = await asyncio.to_thread(
        lambda: world.json("flows", "attempts", "--code", "app_refused", "--vendor", "sunny")
    )
    assert [(one["outcome"], one["code"]) for one in found] == [("unfinished", "app_refused")] * 2
    assert "invalid_scope" in found[0]["text"]
    assert await asyncio.to_thread(lambda: world.json("flows", "attempts", "--vendor", "boxy")) == []
    refused = await asyncio.to_thread(lambda: world("flows", "attempts", "--code", "nonsense", code=2))
    assert "app_refused" in refused.stderr
    (fault,) = (await asyncio.to_thread(lambda: world.json("status")))["joinFaults"]
    assert (fault["vendor"], fault["code"], fault["count"]) == ("sunny", "app_refused", 2)
    assert "Owners could not join" in await asyncio.to_thread(lambda: world("status").stdout)


async def test_enrollments_and_events_of_any_account(world: World) -> None:
    async with world.open() as hub:
        other = await world.enroll(hub, "other", "other-site")
        assert [one.row.id for one in await enrollments.of_ids(hub, [other, "x", world.ids["enrollment"]])] == [
            other,
            world.ids["enrollment"],
        ]
        assert len(await event_service.since(hub, 0, enrollment_id=other)) == 1
