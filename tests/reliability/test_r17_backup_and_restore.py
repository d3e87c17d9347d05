"""R17: an old copy holds tokens that have been spent since. None of them is used by surprise."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import text

from joinder import Refresh, Vendor, hookimpl
from joinder.errors import AppCredentialsRejected, AuthorizationLost, TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import audit_proof
from joinder.services.grants import barrier
from joinder.services.grants.refresh import refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.operations.backup import Copy, back_up, read_manifest
from joinder.services.operations.reconcile import reconcile
from joinder.services.operations.restore import restore
from joinder.services.readings import vendor_calls
from joinder.services.records import accounts
from joinder.services.records.opened_grant import open_grant
from joinder.services.refusals import Conflict, Unprocessable
from joinder.settings import ConfigError, Settings
from joinder.store import copies, dumps
from joinder.store.engine import parsed_url
from joinder.store.key_file import create_key_file
from joinder.store.tables import Due, Enrollment, GrantRow
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

GRANTS = {"sqlite": 1000, "postgresql": 200}  # the same code; a fifth is enough on the slower of the two
HOUR_S = 3600


class ReusableVendor(StrictVendor):
    """Its refresh tokens work again and again."""

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return structs.replace(super().describe_vendor(), refresh=Refresh.REUSABLE, refresh_grace=None)


def with_vendors(*vendors: StrictVendor) -> Registry:
    registry = Registry()
    for vendor in vendors:
        assert registry.add(vendor.name, vendor).problem is None
    return registry


async def enroll_many(hub: Hub, account_id: str, vendor: StrictVendor, owners: Iterable[str]) -> dict[str, str]:
    """Owner by enrollment id."""
    given = {"vendor": vendor.name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    credentials = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
    made = {}
    async with hub.store.write() as session:
        for owner in owners:
            enrollment = await stored_consents.store(
                hub,
                session,
                account_id,
                vendor.consent(owner),
                Origin(vendor=vendor.name, credentials_id=credentials.id),
            )
            made[enrollment.id] = owner
    return made


async def refresh_all(hub: Hub, ids: Iterable[str], each: Callable[[], None] = lambda: None) -> None:
    slots = asyncio.Semaphore(16)

    async def one(enrollment_id: str) -> None:
        async with slots:
            await refresh(hub, enrollment_id, wait_s=300)
            each()

    await asyncio.gather(*(one(each_id) for each_id in ids))


def aged(copy: Copy, seconds: int) -> Path:
    """As if it had been taken so much earlier."""
    manifest = copy.path.with_name(f"{copy.path.name}.manifest.json")
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "takenAt": told["takenAt"] - seconds}))
    return copy.path


def name_of(settings: Settings) -> str:
    return Path(str(parsed_url(settings.database_url).database)).name


async def put_back(settings: Settings, copy: Path, registry: Registry) -> dict[str, int]:
    done = await restore(settings, copy, "test", replace=True, confirm=name_of(settings), registry=registry)
    assert done.kept is not None
    return done.behind


async def number_of(hub: Hub, enrollment_id: str) -> int:
    """Which of the owner's tokens is stored."""
    async with hub.store.read() as session:
        enrollment, row = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
        assert enrollment is not None
        assert row is not None
        await hub.vault.unlock(session, enrollment.account_id)
    grant = open_grant(hub, enrollment.account_id, row)
    return int(grant.secrets["refresh_token"].rsplit("#", 1)[1])


async def health_of(hub: Hub, enrollment_id: str) -> tuple[str, str | None]:
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
    assert row is not None
    return row.health, row.health_reason


@pytest.fixture
def copy_now(tmp_path: Path, settings: Settings) -> Callable[[], Awaitable[Copy]]:
    return lambda: back_up(settings, tmp_path / "a-copy", "test", force=True)


CopyNow = Callable[[], Awaitable[Copy]]


@pytest.mark.timeout(600)
async def test_the_drill(settings: Settings, copy_now: CopyNow, database_kind: str) -> None:
    """Grants copied while all are being renewed, an hour of life after the copy, then the copy is restored."""
    grants, dice = GRANTS[database_kind], random.Random(17)  # noqa: S311 - a repeatable order
    strict, grace = StrictVendor(), StrictVendor(name="graceful", grace=True)
    registry = with_vendors(strict, grace)
    halfway = asyncio.Event()
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == grants // 2:
            halfway.set()

    async def copy_halfway() -> Copy:
        await halfway.wait()
        return await copy_now()

    async with open_hub(settings, registry) as hub:
        account_id = (await accounts.create_account(hub, "drill")).id
        of_strict = await enroll_many(hub, account_id, strict, (f"s{number}" for number in range(grants // 2)))
        of_grace = await enroll_many(hub, account_id, grace, (f"g{number}" for number in range(grants // 2)))
        ids = dice.sample([*of_strict, *of_grace], grants)
        _, copy = await asyncio.gather(refresh_all(hub, ids, count), copy_halfway())
        assert copy.manifest.counts["grant"] == grants
        early = ids[: grants // 4]  # renewed before the copy; some again in the hour after it
        await refresh_all(hub, early)

    behind = await put_back(settings, aged(copy, HOUR_S), registry)
    assert behind == {"strict": grants // 2, "graceful": grants // 2}
    exchanges = strict.exchanges + grace.exchanges
    at_once: list[int] = []

    async def note(_: str) -> None:
        at_once.append(sum(strict.in_flight.values()))

    async with open_hub(settings, registry) as hub:
        held = {each: await number_of(hub, each) for each in ids}
        unspent = {each for each, owner in of_strict.items() if held[each] == strict.current[owner]}
        spent = set(of_strict) - unspent
        assert unspent
        assert spent
        for each in ids[:50]:
            with pytest.raises(TransientError, match="joinder reconcile"):
                await refresh(hub, each)
        assert strict.exchanges + grace.exchanges == exchanges

        first = {one.vendor: one for one in await reconcile(hub, "test")}
        assert (set(first["graceful"].released), set(first["strict"].waiting)) == (set(of_grace), set(of_strict))
        await refresh_all(hub, of_grace)
        assert (grace.reuse_seen, grace.revoked) == (0, set())

        strict.before = note
        (second,) = await reconcile(hub, "test", probe=True, refusals=grants)
        assert (set(second.alive), set(second.lost), second.waiting) == (unspent, spent, [])
        assert strict.revoked == {of_strict[each] for each in spent}
        assert set(at_once) == {1}
        assert await reconcile(hub, "test", probe=True) == []
        for each in list(spent)[:20]:
            health, reason = await health_of(hub, each)
            assert (health, "restored from a copy of" in str(reason)) == ("needs_consent", True)
        await refresh_all(hub, unspent)
    assert strict.revoked == {of_strict[each] for each in spent}


async def test_a_valid_access_token_goes_on_serving(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, vendor: StrictVendor
) -> None:
    serving = await enroll("ada")
    vendor.life = timedelta(seconds=30)  # renewed before it is used, but still good
    ending = await enroll("bob")
    copy = await copy_now()
    await hub.drain()
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    async with open_hub(settings, registry) as again:
        for each in (serving, ending):
            token = await vendor_calls.with_grant(again, each, _access_token)
            assert token.startswith("access-")
    assert vendor.exchanges == 0


async def _access_token(ctx: object, grant: object) -> str:
    return str(grant.secrets["access_token"])  # type: ignore[attr-defined]


async def test_the_worker_finds_nothing_due_behind_the_barrier(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow
) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        row = await session.get(Due, ("refresh", enrollment_id))
        assert row is not None
        row.due_at = 0
    copy = await copy_now()
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    async with open_hub(settings, registry) as again:
        due = "SELECT count(*) FROM due WHERE kind = 'refresh' AND due_at < 9999999999"
        assert (await again.store.rows(due, {}))[0][0] == 0
        await reconcile(again, "test", probe=True)
        assert (await again.store.rows(due, {}))[0][0] == 1


async def test_the_brake_stops_after_refusals_in_a_row(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, vendor: StrictVendor
) -> None:
    ids = {await enroll(f"o{number}") for number in range(12)}
    copy = await copy_now()
    await refresh_all(hub, ids)
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    async with open_hub(settings, registry) as again:
        (outcome,) = await reconcile(again, "test", probe=True, refusals=3)
        assert (len(outcome.alive), len(outcome.lost), len(outcome.waiting)) == (0, 3, 9)
        assert {*outcome.lost, *outcome.waiting} == ids
        assert "--refusals 12" in str(outcome.stopped)
        assert len(vendor.revoked) == 3
        with pytest.raises(AuthorizationLost, match="restored from a copy"):
            await refresh(again, outcome.lost[0])
        (rest,) = await reconcile(again, "test", probe=True, refusals=12)
        assert (set(rest.lost), rest.waiting) == (set(outcome.waiting), [])


async def test_trouble_at_the_vendor_decides_nothing(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, vendor: StrictVendor
) -> None:
    ids = {await enroll(f"o{number}") for number in range(3)}
    copy = await copy_now()
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    async with open_hub(settings, registry) as again:
        vendor.fail = TransientError("The vendor is down")
        (outcome,) = await reconcile(again, "test", probe=True)
        assert (set(outcome.waiting), outcome.stopped) == (ids, "The vendor is down")
        vendor.fail = AppCredentialsRejected("The app is refused")
        before = vendor.exchanges
        (outcome,) = await reconcile(again, "test", probe=True)
        assert (set(outcome.waiting), vendor.exchanges) == (ids, before + 1)


async def test_one_process_probes_at_a_time(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, vendor: StrictVendor
) -> None:
    for number in range(3):
        await enroll(f"o{number}")
    copy = await copy_now()
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    vendor.latency_s = 0.2
    async with open_hub(settings, registry) as one, open_hub(settings, registry) as other:
        first = asyncio.create_task(reconcile(one, "test", probe=True))
        while not vendor.exchanges:
            await asyncio.sleep(0.01)
        with pytest.raises(Conflict, match="Another process"):
            await reconcile(other, "test", probe=True)
        assert len((await first)[0].alive) == 3
        assert await reconcile(other, "test", probe=True) == []


async def test_beyond_the_grace_a_probe_decides(settings: Settings, copy_now: CopyNow) -> None:
    grace = StrictVendor(name="graceful", grace=True)
    registry = with_vendors(grace)
    async with open_hub(settings, registry) as hub:
        account_id = (await accounts.create_account(hub, "x")).id
        made = await enroll_many(hub, account_id, grace, ["ada"])
        copy = await copy_now()
    await put_back(settings, aged(copy, 25 * HOUR_S), registry)
    async with open_hub(settings, registry) as hub:
        (outcome,) = await reconcile(hub, "test")
        assert (outcome.released, outcome.waiting) == ([], list(made))


async def test_reusable_tokens_are_never_stopped(settings: Settings, copy_now: CopyNow) -> None:
    reusable, strict = ReusableVendor(name="reusable"), StrictVendor()
    registry = with_vendors(reusable, strict)
    async with open_hub(settings, registry) as hub:
        account_id = (await accounts.create_account(hub, "x")).id
        (free,) = await enroll_many(hub, account_id, reusable, ["ada"])
        await enroll_many(hub, account_id, strict, ["bob"])
        copy = await copy_now()
    assert await put_back(settings, copy.path, registry) == {"strict": 1}
    async with open_hub(settings, registry) as hub:
        await refresh(hub, free)
    assert reusable.exchanges == 1


async def test_a_new_consent_stands_before_the_barrier(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, account_id: str
) -> None:
    enrollment_id = await enroll("ada")
    copy = await copy_now()
    await hub.store.close()
    await put_back(settings, copy.path, registry)
    vendor = StrictVendor()
    async with open_hub(settings, with_vendors(vendor)) as again:
        async with again.store.write() as session:
            await stored_consents.store(again, session, account_id, vendor.consent("ada"), Origin(vendor="strict"))
        await refresh(again, enrollment_id)
        async with again.store.read() as session:
            assert await barrier.waiting(session) == []


async def test_nothing_is_replaced_unless_it_is_named(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow
) -> None:
    await enroll("ada")
    copy = await copy_now()
    await hub.store.close()
    with pytest.raises(Conflict, match=f"--replace --confirm {name_of(settings)}"):
        await restore(settings, copy.path, "test", registry=registry)
    with pytest.raises(Conflict, match="--confirm must name"):
        await restore(settings, copy.path, "test", replace=True, confirm="other", registry=registry)


async def test_a_running_server_is_not_restored_under(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow
) -> None:
    enrollment_id = await enroll("ada")
    copy = await copy_now()
    with pytest.raises(Conflict, match="in use: stop every joinder"):
        await put_back(settings, copy.path, registry)
    await refresh(hub, enrollment_id)  # and it was not disturbed


async def test_the_wrong_key_and_a_newer_schema_leave_the_database_as_it_was(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, tmp_path: Path
) -> None:
    enrollment_id = await enroll("ada")
    copy = await copy_now()
    await hub.drain()
    await refresh(hub, enrollment_id)
    ((ours,),) = await hub.store.rows("SELECT version_num FROM alembic_version", {})
    async with hub.store.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer = await back_up(settings, tmp_path / "newer", "test")
    async with hub.store.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = :ours"), {"ours": ours})
    await hub.store.close()
    create_key_file(tmp_path / "other.key")
    wrong = structs.replace(settings, key_file=str(tmp_path / "other.key"))
    with pytest.raises(ConfigError, match="Wrong key"):
        await put_back(wrong, copy.path, registry)
    with pytest.raises(ConfigError, match=rf"^{newer.path} was written by a newer Joinder"):
        await put_back(settings, newer.path, registry)
    async with open_hub(settings, registry) as again:
        assert await number_of(again, enrollment_id) == 2
    if settings.database_url.startswith("sqlite"):
        folder = Path(str(parsed_url(settings.database_url).database)).parent
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


async def test_a_copy_that_was_changed_is_refused(
    hub: Hub, settings: Settings, registry: Registry, copy_now: CopyNow
) -> None:
    copy = await copy_now()
    await hub.store.close()
    with copy.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(Unprocessable, match="checksum"):
        await put_back(settings, copy.path, registry)


async def test_an_empty_place_needs_no_word(
    hub: Hub, settings: Settings, registry: Registry, enroll: Enroll, copy_now: CopyNow, tmp_path: Path
) -> None:
    enrollment_id = await enroll("ada")
    copy = await copy_now()
    url = parsed_url(settings.database_url)
    new = url.set(database=f"{url.database}_new" if url.get_backend_name() != "sqlite" else str(tmp_path / "new"))
    elsewhere = structs.replace(settings, database_url=new.render_as_string(hide_password=False))
    done = await restore(elsewhere, copy.path, "test", registry=registry)
    assert (done.kept, done.behind) == (None, {"strict": 1})
    async with open_hub(elsewhere, registry) as there:
        assert await number_of(there, enrollment_id) == 1
        noted = await there.store.rows("SELECT actor, target FROM audit WHERE action = 'database.restore'", {})
        assert [tuple(row) for row in noted] == [("test", copy.path.name)]
        assert (await audit_proof.verify(there)).findings == []
    if url.get_backend_name() != "sqlite":
        await dumps.drop(new)


async def test_a_copy_stands_in_the_audit_by_its_checksum(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    """S26: whoever copies everything is noted, beside running servers; a copy that was refused is not."""
    copy = await back_up(settings, tmp_path / "copy", "ada")
    with pytest.raises(Conflict):
        await back_up(settings, tmp_path / "copy", "ada")
    noted = await hub.store.rows("SELECT actor, target, reason FROM audit WHERE action = 'database.backup'", {})
    assert [tuple(row) for row in noted] == [("ada", "copy", f"SHA-256 {copy.manifest.sha256}")]
    assert copy.unaudited is None
    assert (await audit_proof.verify(hub)).findings == []


async def test_a_copy_is_made_without_the_key_and_of_another_schema_and_says_that_nothing_was_noted(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    none, other = (structs.replace(settings, key_file=str(tmp_path / name)) for name in ("none.key", "other.key"))
    create_key_file(Path(other.key_file))
    for number, key in enumerate((none, other)):
        copy = await back_up(key, tmp_path / f"copy-{number}", "ada")
        assert read_manifest(copy.path) == copy.manifest
        assert copy.unaudited is not None
        assert "key" in copy.unaudited
    async with hub.store.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0013'"))
    old = await back_up(settings, tmp_path / "old", "ada")
    assert old.unaudited == "the database stays at the schema 0013 of another version"
    assert [row[0] for row in await hub.store.rows("SELECT version_num FROM alembic_version", {})] == ["0013"]
    assert await hub.store.rows("SELECT * FROM audit WHERE action = 'database.backup'", {}) == []


async def test_copies_hold_no_secret_and_are_ours_alone(
    hub: Hub, settings: Settings, enroll: Enroll, copy_now: CopyNow, tmp_path: Path
) -> None:
    await enroll("ada")
    copy = await copy_now()
    for path in tmp_path.glob("a-copy*"):
        assert path.stat().st_mode & 0o777 == 0o600
        held = path.read_bytes()
        for secret in (b"access-ada#1", b"a-secret", Path(settings.key_file).read_bytes().strip()):
            assert secret not in held
    assert copy.manifest.counts["enrollment"] == 1
    assert len(copy.manifest.key_ids) == 1


async def test_a_damaged_copy_is_not_restored(hub: Hub, settings: Settings, tmp_path: Path, enroll: Enroll) -> None:
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("pg_restore reads its own format")
    await enroll("ada")
    copy = await back_up(settings, tmp_path / "copy", "test")
    held = bytearray(copy.path.read_bytes())
    held[8192:20480] = bytes(12288)
    bad = tmp_path / "bad"
    bad.write_bytes(held)
    with pytest.raises(ConfigError, match=r"damaged|cannot be copied|malformed"):
        await restore(structs.replace(settings, database_url=f"sqlite:///{tmp_path}/new"), bad, "test")
    assert not (tmp_path / "new").exists()


def test_a_raw_copy_without_a_manifest_counts_as_old_as_its_newest_token(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x") as made:
        made.execute("CREATE TABLE unrelated (a)")
    with pytest.raises(ConfigError, match="no database of Joinder"):
        copies.facts_in(tmp_path / "x")
