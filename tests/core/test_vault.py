"""Secrets at rest open in their own place, with their own key, and nowhere else."""

from __future__ import annotations

import base64
import errno
import os
import secrets as random_secrets
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from joinder.runtime.hub import open_hub
from joinder.settings import ConfigError, Settings
from joinder.store.engine import open_store
from joinder.store.key_file import Kek, add_key, create_key_file, key_path, read_key_file, remove_key
from joinder.store.tables import Account, DataKey
from joinder.store.types import Store
from joinder.store.vault import SealBroken, Vault, token_hash
from joinder.vendors.registry import Registry

KEK = bytes(range(32))
CANARY = "canary-2f9d7c41e8b3"
PLACE = {"table": "grant", "row": "enrl-1", "column": "sealed", "owner": "acct-a"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{tmp_path / 'hub.sqlite3'}")
    yield store
    await store.close()


async def ready(store: Store, kek: bytes = KEK, owners: tuple[str, ...] = ("acct-a", "acct-b")) -> Vault:
    vault = Vault(lambda: [Kek(kek)])
    async with store.write() as session:
        await vault.prepare(session)
        for owner in owners:
            await vault.unlock(session, owner, create=True)
    return vault


async def test_a_value_comes_back_from_its_own_place(store):
    vault = await ready(store)
    sealed = vault.seal({"access_token": CANARY}, **PLACE)
    assert vault.open_strings(sealed, **PLACE) == {"access_token": CANARY}


async def test_another_process_with_the_same_key_opens_it(store):
    sealed = (await ready(store)).seal([CANARY], **PLACE)
    assert (await ready(store)).open(sealed, **PLACE) == [CANARY]


async def test_the_same_value_is_never_sealed_the_same_way(store):
    vault = await ready(store)
    assert len({vault.seal(CANARY, **PLACE) for _ in range(200)}) == 200


async def test_no_bit_can_be_flipped(store):
    vault = await ready(store)
    sealed = vault.seal(CANARY, **PLACE)
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(SealBroken):
            vault.open(bytes(changed), **PLACE)


async def test_nothing_can_be_cut_off_or_appended(store):
    vault = await ready(store)
    sealed = vault.seal(CANARY, **PLACE)
    for changed in (*(sealed[:length] for length in range(len(sealed))), sealed + b"\x00", b"\x00" + sealed):
        with pytest.raises(SealBroken):
            vault.open(changed, **PLACE)


@pytest.mark.parametrize("part", PLACE)
async def test_a_ciphertext_moved_elsewhere_does_not_open(store, part):
    vault = await ready(store)
    sealed = vault.seal(CANARY, **PLACE)
    elsewhere = {**PLACE, part: "acct-b" if part == "owner" else "other"}
    with pytest.raises(SealBroken) as caught:
        vault.open(sealed, **elsewhere)
    assert CANARY not in str(caught.value)


async def test_names_that_join_to_the_same_text_are_other_places(store):
    vault = await ready(store)
    sealed = vault.seal(CANARY, table="a", row="b", column="cd", owner="acct-a")
    with pytest.raises(SealBroken):
        vault.open(sealed, table="a", row="bc", column="d", owner="acct-a")


async def test_a_data_key_moved_to_another_account_does_not_open(store):
    await ready(store)
    async with store.write() as session:
        await session.execute(text("DELETE FROM data_key WHERE owner = 'acct-b'"))
        await session.execute(text("UPDATE data_key SET owner = 'acct-b' WHERE owner = 'acct-a'"))
    async with store.read() as session:
        with pytest.raises(ConfigError):
            await Vault(lambda: [Kek(KEK)]).unlock(session, "acct-b")


async def rows(store: Store) -> list[tuple[object, ...]]:
    async with store.read() as session:
        found = await session.execute(text("SELECT * FROM data_key ORDER BY id"))
        return [tuple(row) for row in found]


async def test_a_wrong_key_is_told_before_anything_is_written(store):
    await ready(store)
    before = await rows(store)
    with pytest.raises(ConfigError, match="Wrong key") as caught:
        await ready(store, random_secrets.token_bytes(32))
    assert await rows(store) == before
    assert KEK.hex() not in str(caught.value)


async def test_unlocking_an_account_without_a_key_raises_and_remembers_nothing(store):
    vault = await ready(store, owners=())
    async with store.read() as session:
        for _ in range(2):
            with pytest.raises(SealBroken):
                await vault.unlock(session, "acct-a")
    with pytest.raises(KeyError):
        vault.seal(CANARY, **PLACE)


async def test_unlocking_with_a_wrong_key_remembers_nothing(store):
    await ready(store)
    wrong = Kek(random_secrets.token_bytes(32))
    other = Vault(lambda: [wrong])
    async with store.read() as session:
        for _ in range(2):
            with pytest.raises(ConfigError):
                await other.unlock(session, "acct-a")
    with pytest.raises(KeyError):
        other.seal(CANARY, **PLACE)


async def unlock_and_fail(vault: Vault, store: Store) -> None:
    async with store.write() as session:
        await vault.unlock(session, "acct-a", create=True)
        raise SealBroken("disk full")


async def test_a_key_whose_transaction_failed_is_forgotten(store):
    """Else secrets would be sealed with a key that exists in no database."""
    vault = await ready(store, owners=())
    with pytest.raises(SealBroken):
        await unlock_and_fail(vault, store)
    with pytest.raises(KeyError):
        vault.seal(CANARY, **PLACE)
    async with store.write() as session:
        await vault.unlock(session, "acct-a", create=True)
    sealed = vault.seal(CANARY, **PLACE)
    assert (await ready(store)).open(sealed, **PLACE) == CANARY


async def test_preparing_twice_makes_no_second_key(store):
    await ready(store)
    before = await rows(store)
    await ready(store)
    assert await rows(store) == before
    assert len(before) == 4


async def test_no_plaintext_reaches_the_files(store, tmp_path):
    vault = await ready(store)
    async with store.write() as session:
        session.add(Account(id="acct-a", name="visible-name", created_at=0))
        for number in range(50):
            sealed = vault.seal({"token": f"{CANARY}{number}"}, **PLACE)
            key = DataKey(id=f"row-{number}", owner="x", purpose=f"{number}", kek_id="", wrapped=sealed, created_at=0)
            session.add(key)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"visible-name" in content
    for form in (CANARY.encode(), base64.b64encode(CANARY.encode())[:-4], CANARY.encode().hex().encode(), KEK):
        assert form not in content


async def test_the_database_files_are_their_owners_only(store, tmp_path):
    await ready(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["hub.sqlite3", "hub.sqlite3-wal", "hub.sqlite3-shm"], 0o600)


async def test_no_key_is_in_the_repr(store):
    vault = await ready(store)
    assert KEK.hex() not in repr(vault)
    assert repr(KEK) not in repr(vault)


async def test_fingerprints_depend_on_the_database(store, tmp_path):
    vault = await ready(store)
    assert vault.fingerprint(CANARY) == (await ready(store)).fingerprint(CANARY)
    other = await open_store(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    assert (await ready(other)).fingerprint(CANARY) != vault.fingerprint(CANARY)
    await other.close()


def test_token_hashes_differ():
    assert token_hash("a") != token_hash("b")
    assert len(token_hash("a")) == 32


# Several keys --------------------------------------------------------------------------------------------------------


async def test_a_key_that_no_longer_wraps_still_opens(store):
    sealed = (await ready(store)).seal(CANARY, **PLACE)
    vault = Vault(lambda: [Kek(bytes(32)), Kek(KEK)])
    async with store.write() as session:
        await vault.unlock(session, "acct-a")
        await vault.unlock(session, "acct-c", create=True)
    assert vault.open(sealed, **PLACE) == CANARY
    async with store.read() as session:
        told = await session.execute(text("SELECT kek_id FROM data_key WHERE owner = 'acct-c'"))
    assert told.scalar_one() == Kek(bytes(32)).id


async def test_a_process_that_meets_an_unknown_key_reads_its_file_again(store):
    file = [Kek(KEK)]
    reads = []
    vault = Vault(lambda: reads.append(len(file)) or tuple(file))
    async with store.write() as session:
        await vault.prepare(session)
    file.insert(0, Kek(bytes(32)))
    other = Vault(lambda: file)
    async with store.write() as session:
        await other.unlock(session, "acct-a", create=True)
    reads.clear()
    async with store.read() as session:
        await vault.unlock(session, "acct-a")
        await vault.unlock(session, "acct-a")
    assert reads == [2]
    assert vault.open(other.seal(CANARY, **PLACE), **PLACE) == CANARY


async def test_a_key_that_the_file_does_not_have_is_looked_for_once_and_named(store):
    await ready(store)
    reads = []
    vault = Vault(lambda: reads.append(1) or [Kek(bytes(32))])
    async with store.read() as session:
        with pytest.raises(ConfigError, match=f"Wrong key: .* {Kek(KEK).id}, the key file holds {Kek(bytes(32)).id}"):
            await vault.unlock(session, "acct-a")
    assert len(reads) == 2


async def test_what_is_new_is_wrapped_by_the_key_that_is_first_by_then(store):
    """A server that started before the rotation must not make the old key necessary again."""
    file = [Kek(KEK)]
    vault = Vault(lambda: tuple(file))
    file.insert(0, Kek(bytes(32)))
    async with store.write() as session:
        await vault.unlock(session, "acct-a", create=True)
    assert [row for row in await rows(store) if Kek(KEK).id in row] == []


async def test_a_database_one_of_whose_keys_is_not_in_the_file_is_refused_at_start(store):
    await ready(store)
    rotated = Vault(lambda: [Kek(bytes(32)), Kek(KEK)])
    async with store.write() as session:
        await rotated.unlock(session, "acct-c", create=True)
    with pytest.raises(ConfigError, match="Wrong key"):
        await ready(store, owners=())


# Key files -----------------------------------------------------------------------------------------------------------


def secrets_in(path):
    return [kek.secret for kek in read_key_file(path)]


def test_a_new_key_file_is_its_owners_only_and_reads_back(tmp_path):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(secrets_in(path)[0]) == 32


def test_two_key_files_differ(tmp_path):
    create_key_file(tmp_path / "a")
    create_key_file(tmp_path / "b")
    assert secrets_in(tmp_path / "a") != secrets_in(tmp_path / "b")


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    key = secrets_in(path)
    with pytest.raises(ConfigError, match="never overwritten"):
        create_key_file(path)
    assert secrets_in(path) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610, 0o601, 0o777])
def test_a_key_file_others_can_touch_is_refused(tmp_path, mode):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key_file(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_its_owner_is_read(tmp_path, mode):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    path.chmod(mode)
    assert len(secrets_in(path)[0]) == 32


NO_KEYS = [b"", b"\n", b"not base64!", b"YWJj", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), b"\xff"]


@pytest.mark.parametrize("content", [*NO_KEYS, bytes(32)])
def test_a_file_that_is_no_key_is_refused_without_showing_it(tmp_path, content):
    path = tmp_path / "joinder.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="32 bytes"):
        read_key_file(path)


@pytest.mark.parametrize("name", ["absent.key", "absent/joinder.key", "."])
def test_a_key_that_cannot_be_read_is_a_config_error(tmp_path, name):
    with pytest.raises(ConfigError):
        read_key_file(tmp_path / name)


def test_a_key_that_cannot_be_written_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        create_key_file(tmp_path / "absent" / "joinder.key")


def test_a_new_key_comes_first_and_the_others_stay(tmp_path):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    before = secrets_in(path)
    new = add_key(path)
    assert secrets_in(path) == [new.secret, *before]
    assert (stat.S_IMODE(path.stat().st_mode), [each.name for each in tmp_path.iterdir()]) == (0o600, [path.name])
    remove_key(path, new.id)
    assert secrets_in(path) == before


def test_a_changed_key_file_keeps_its_owner_and_a_link_stays_one(tmp_path):
    path, link = tmp_path / "joinder.key", tmp_path / "link.key"
    create_key_file(path)
    link.symlink_to(path)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    before = path.stat()
    new = add_key(link)
    assert (link.is_symlink(), new.secret in secrets_in(path)) == (True, True)
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)


def test_what_a_cut_change_left_behind_goes_with_the_next(tmp_path):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    (tmp_path / "joinder.key.new").write_text("half a k")
    add_key(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("step", ["fchown", "fsync", "replace"])
def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, step):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path if step == "replace" else os, step, full)
    with pytest.raises(ConfigError, match="No space left"):
        add_key(path)
    assert (path.read_bytes(), [each.name for each in tmp_path.iterdir()]) == (before, [path.name])


@pytest.mark.parametrize("content", [b"YWJj\n", b"\n" + base64.b64encode(bytes(31)), b" spare words"])
def test_a_line_that_is_no_key_is_refused_beside_one_that_is(tmp_path, content):
    path = tmp_path / "joinder.key"
    create_key_file(path)
    path.write_bytes(path.read_bytes() + content)
    with pytest.raises(ConfigError, match="one a line"):
        read_key_file(path)


def test_no_key_is_in_a_repr(tmp_path):
    kek = Kek(KEK)
    assert repr(kek) == f"Kek({kek.id})"


# The key as a systemd credential --------------------------------------------------------------------------------------


@pytest.fixture
def credential(tmp_path, monkeypatch):
    """As systemd gives it: a folder that only this unit sees, its files read-only."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    create_key_file(folder / "joinder.key")
    (folder / "joinder.key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder / "joinder.key"


async def test_a_systemd_credential_of_its_name_counts_before_the_key_file(tmp_path, credential):
    create_key_file(tmp_path / "joinder.key")
    assert key_path(str(tmp_path / "joinder.key")) == credential
    (kek,) = read_key_file(key_path("joinder.key"))
    assert kek.id != read_key_file(tmp_path / "joinder.key")[0].id
    async with open_hub(Settings(database_url=f"sqlite:///{tmp_path}/db", key_file="joinder.key"), Registry()) as hub:
        assert [one.id for one in hub.vault.keks] == [kek.id]


def test_without_a_credential_of_its_name_the_file_counts(tmp_path, credential, monkeypatch):
    assert key_path(str(tmp_path / "other.key")) == tmp_path / "other.key"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert key_path(str(tmp_path / "joinder.key")) == tmp_path / "joinder.key"


def test_a_credential_is_not_written_and_it_is_said_who_does(credential):
    before = credential.read_bytes()
    with pytest.raises(ConfigError, match="systemd credential"):
        add_key(credential)
    assert credential.read_bytes() == before
