"""The consent of an ended enrollment ends at its vendor too, unless another enrollment lives on it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

import pytest
from msgspec import structs

from joinder import Consent, Vendor, hookimpl
from joinder.http import HttpFactory
from joinder.ids import new_id
from joinder.runtime import worker
from joinder.runtime.hub import Hub
from joinder.services.admin import account_removal
from joinder.services.grants import revocations
from joinder.services.grants.refresh import refresh
from joinder.services.join import enrollments, vendor_credentials
from joinder.services.records.opened_grant import seal_grant
from joinder.store.tables import Enrollment, GrantRow, Revocation, SiteRight
from misbehaving import HANG, RESET, Served, http_answer
from services.sharing import Nameless, Owners, told

OK = http_answer()
DEAD = http_answer(b'{"error":"invalid_token"}', "400 Bad Request")
NO_TYPE = http_answer(b'{"error":"unsupported_token_type"}', "400 Bad Request")
WRONG_APP = http_answer(b'{"error":"invalid_client"}', "401 Unauthorized")
AWAY = http_answer(b"", "503 Service Unavailable")
LIMITED = http_answer(b"", "429 Too Many Requests", retry_after="900")
EVENTS = ("enrollment.deleted", "enrollment.revoked")


@dataclass(eq=False)
class Revoking(Nameless):
    revocation_url: str | None = "https://strict.example/revoke"
    names: set[str] = field(default_factory=set)  # owners the vendor names

    @hookimpl
    def describe_vendor(self) -> Vendor:
        described = super().describe_vendor()
        assert described.oauth2 is not None
        return structs.replace(described, oauth2=structs.replace(described.oauth2, revocation_url=self.revocation_url))

    def consent(self, owner: str) -> Consent:
        return replace(super().consent(owner), account_id=owner if owner in self.names else None)


@pytest.fixture
def vendor() -> Revoking:
    made = Revoking()
    made.sites = {}
    return made


@pytest.fixture
async def served(hub: Hub) -> AsyncIterator[Served]:
    """The vendor's revocation endpoint."""
    made = Served([OK])
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    before, hub.http = hub.http, HttpFactory(reroute={"strict.example": made.origin})
    yield made
    await hub.http.close()
    hub.http = before
    made.release.set()
    server.close()


@pytest.fixture
def owners(hub: Hub, vendor: Revoking, account_id: str, credentials_id: str) -> Owners:
    return Owners(hub, vendor, account_id, credentials_id)


async def work(hub: Hub) -> None:
    for app in await revocations._due(hub):
        await revocations.work(hub, app)


async def later(hub: Hub, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    moment = revocations.now() + seconds
    monkeypatch.setattr(revocations, "now", lambda: moment)
    await hub.store.apply(("UPDATE revocation SET lease = NULL WHERE due_at > :at", {"at": 0}))


async def waiting(hub: Hub) -> int:
    return len(await hub.store.rows("SELECT 1 FROM revocation", {}))


def sent(request: bytes) -> tuple[str, dict[str, str]]:
    """The client it was, and its form."""
    head, _, body = request.partition(b"\r\n\r\n")
    basic = next(line for line in head.decode().split("\r\n") if line.lower().startswith("authorization: basic"))
    client = base64.b64decode(basic.rpartition(" ")[2]).decode()
    return client, {name: values[0] for name, values in parse_qs(body.decode()).items()}


async def outcomes(hub: Hub) -> list[str]:
    return [str(data["how"]) for _, _, data in await told(hub, "enrollment.revoked")]


def counted(hub: Hub, result: str) -> float:
    labels = {"vendor": "strict", "result": result}
    return hub.metrics.registry.get_sample_value("joinder_revocations_total", labels) or 0.0


async def test_the_refresh_token_is_handed_back_and_erased(
    hub: Hub, served: Served, owners: Owners, account_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await owners.consents("ada")
    assert await enrollments.delete(hub, account_id, ada, "test") == "requested"
    assert await waiting(hub) == 1
    await work(hub)
    (request,) = served.requests
    assert request.startswith(b"POST /revoke HTTP/1.1")
    assert sent(request) == ("an-id:a-secret", {"token": "ada#1", "token_type_hint": "refresh_token"})
    assert await waiting(hub) == 0
    assert await told(hub, *EVENTS) == [
        ("enrollment.deleted", ada, {"vendor": "strict", "revocation": "requested"}),
        ("enrollment.revoked", ada, {"vendor": "strict", "how": "at vendor"}),
    ]
    assert counted(hub, "revoked") == 1
    assert "ada#1" not in caplog.text
    await work(hub)
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("answers", "how", "calls"),
    [
        ([DEAD], "at vendor", 1),
        ([NO_TYPE, OK], "at vendor", 2),
        ([NO_TYPE, NO_TYPE], "failed", 2),
    ],
)
async def test_answers_that_end_it(
    hub: Hub, served: Served, owners: Owners, account_id: str, answers: list[bytes], how: str, calls: int
) -> None:
    served.script[:] = answers
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")
    await work(hub)
    assert (await outcomes(hub), len(served.requests), await waiting(hub)) == ([how], calls, 0)
    if calls == 2:
        assert sent(served.requests[1])[1] == {"token": "access-ada#1", "token_type_hint": "access_token"}


@pytest.mark.parametrize("answer", [AWAY, WRONG_APP, LIMITED, RESET, http_answer(b"<html>", "404 Not Found")])
async def test_answers_that_are_tried_again_for_a_day(
    hub: Hub,
    served: Served,
    owners: Owners,
    account_id: str,
    answer: bytes | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.script[:] = [answer]
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")
    await work(hub)
    ((due_at, attempts),) = await hub.store.rows("SELECT due_at, attempts FROM revocation", {})
    assert (attempts, await outcomes(hub), counted(hub, "failed")) == (1, [], 1)
    assert due_at > revocations.now() + (890 if answer == LIMITED else 0)
    await work(hub)
    assert len(served.requests) == 1  # not before it is due
    await later(hub, monkeypatch, revocations.GIVE_UP_AFTER_S)
    await work(hub)
    assert (await outcomes(hub), await waiting(hub), counted(hub, "given_up")) == (["failed"], 0, 1)


async def test_a_server_or_worker_does_it_by_itself(hub: Hub, served: Served, owners: Owners, account_id: str) -> None:
    ada = await owners.consents("ada")
    async with asyncio.timeout(60), worker.working(hub):
        await enrollments.delete(hub, account_id, ada, "test")
        while await outcomes(hub) != ["at vendor"]:
            await asyncio.sleep(0.05)
    assert len(served.requests) == 1


async def test_it_works_at_the_second_try(
    hub: Hub, served: Served, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.script[:] = [AWAY, OK]
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")
    await work(hub)
    await later(hub, monkeypatch, 3600)
    await work(hub)
    assert (await outcomes(hub), len(served.requests)) == (["at vendor"], 2)


async def test_corrected_credentials_are_used_and_lost_ones_were_kept(
    hub: Hub, served: Served, owners: Owners, account_id: str, credentials_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.script[:] = [WRONG_APP]
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")
    await work(hub)
    patch = {"credentials": {"clientSecret": "corrected"}}
    await vendor_credentials.change(hub, account_id, credentials_id, "test", patch=patch)
    await later(hub, monkeypatch, 3600)
    await work(hub)
    await vendor_credentials.delete(hub, account_id, credentials_id, "test")
    served.script[:] = [OK]
    await later(hub, monkeypatch, 3 * 3600)
    await work(hub)
    assert [sent(request)[0] for request in served.requests] == [
        "an-id:a-secret",
        "an-id:corrected",
        "an-id:a-secret",
    ]
    assert await outcomes(hub) == ["at vendor"]
    assert await hub.store.rows("SELECT 1 FROM quota WHERE app = :app", {"app": credentials_id}) == []


async def test_it_outlives_its_account_and_leaves_nothing(
    hub: Hub, served: Served, owners: Owners, account_id: str
) -> None:
    await owners.consents("ada")
    async for _ in account_removal.remove(hub, account_id, "test"):
        pass
    assert await waiting(hub) == 1
    await work(hub)
    assert sent(served.requests[0]) == ("an-id:a-secret", {"token": "ada#1", "token_type_hint": "refresh_token"})
    assert await waiting(hub) == 0
    assert await hub.store.rows("SELECT 1 FROM event", {}) == []


async def test_what_another_enrollment_holds_is_not_revoked(
    hub: Hub, vendor: Revoking, served: Served, owners: Owners, account_id: str, credentials_id: str
) -> None:
    ada, twin = await owners.consents("ada"), new_id("enrl")
    sealed = seal_grant(hub, account_id, twin, vendor.grant("ada"))
    values = {"account_id": account_id, "vendor": "strict", "credentials_id": credentials_id}
    async with hub.store.write(account_id) as session:
        session.add(Enrollment(id=twin, health_since=1, created_at=1, **values))
        await session.flush()
        session.add(GrantRow(enrollment_id=twin, sealed=sealed, obtained_at=1))
        session.add(SiteRight(enrollment_id=twin, vendor_site_id="site-of-ada"))
    assert await enrollments.delete(hub, account_id, ada, "test") == "kept"
    assert (await outcomes(hub), await waiting(hub)) == (["kept"], 0)
    assert await enrollments.delete(hub, account_id, twin, "test") == "requested"


async def test_the_same_owner_who_consents_again_at_once_keeps_the_consent(
    hub: Hub, vendor: Revoking, served: Served, owners: Owners, account_id: str
) -> None:
    vendor.names = {"ada", "bob"}
    ada = await owners.consents("ada")
    bob = await owners.consents("bob")
    assert await enrollments.delete(hub, account_id, ada, "test") == "requested"
    assert await enrollments.delete(hub, account_id, bob, "test") == "requested"
    again = await owners.consents("ada")
    await refresh(hub, again)  # another token by now
    await work(hub)
    assert [sent(request)[1]["token"] for request in served.requests] == ["bob#1"]
    assert sorted(await outcomes(hub)) == ["at vendor", "kept"]
    assert counted(hub, "kept") == 1
    await refresh(hub, again)


async def test_of_two_owners_of_one_site_only_the_one_who_ends_is_revoked(
    hub: Hub, vendor: Revoking, served: Served, owners: Owners, account_id: str
) -> None:
    vendor.sites = {"ada": ("home",), "bob": ("home",)}
    ada, bob = await owners.consents("ada"), await owners.consents("bob")
    assert await enrollments.delete(hub, account_id, ada, "test") == "requested"
    await work(hub)
    assert [sent(request)[1]["token"] for request in served.requests] == ["ada#1"]
    await refresh(hub, bob)


async def test_a_renewal_under_way_hands_back_the_new_token(
    hub: Hub, vendor: Revoking, served: Served, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await owners.consents("ada")

    async def ends(_: str) -> None:
        await enrollments.delete(hub, account_id, ada, "test")
        await work(hub)  # too early: the token that follows is not here yet

    vendor.after = ends
    await refresh(hub, ada)
    assert await waiting(hub) == 1
    assert (served.requests, await outcomes(hub)) == ([], [])
    await work(hub)
    assert [sent(request)[1]["token"] for request in served.requests] == ["ada#2"]
    assert await outcomes(hub) == ["at vendor"]


async def test_a_lost_answer_of_a_renewal_does_not_keep_the_token_for_ever(
    hub: Hub, vendor: Revoking, served: Served, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await owners.consents("ada")
    await hub.store.apply(
        ('UPDATE "grant" SET intent_at = :at WHERE enrollment_id = :id', {"at": revocations.now(), "id": ada})
    )
    await enrollments.delete(hub, account_id, ada, "test")
    await work(hub)
    assert served.requests == []
    await later(hub, monkeypatch, 60)
    await work(hub)
    assert len(served.requests) == 1


async def test_two_workers_revoke_once(hub: Hub, served: Served, owners: Owners, account_id: str) -> None:
    for owner in ("ada", "bob", "cyd"):
        await enrollments.delete(hub, account_id, await owners.consents(owner), "test")
    (app,) = await revocations._due(hub)
    await asyncio.gather(revocations.work(hub, app), revocations.work(hub, app))
    assert sorted(sent(request)[1]["token"] for request in served.requests) == ["ada#1", "bob#1", "cyd#1"]


async def test_a_worker_that_died_in_it_is_followed_by_another(
    hub: Hub, served: Served, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.script[:] = [HANG, OK]
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")
    dying = asyncio.create_task(work(hub))
    while not served.requests:
        await asyncio.sleep(0.01)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await work(hub)
    assert len(served.requests) == 1  # its lease still runs
    await hub.store.apply(("UPDATE revocation SET lease_until = 0 WHERE due_at >= :at", {"at": 0}))
    await work(hub)
    assert await outcomes(hub) == ["at vendor"]


async def test_where_the_vendor_cannot_be_told_the_owner_ends_it(
    hub: Hub, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await owners.consents("ada")
    assert await revocations.foretold(hub, [ada]) == [
        "Strict is told to revoke the tokens; a server or worker tries for a day."
    ]

    def without(described: Vendor) -> Vendor:
        assert described.oauth2 is not None
        return structs.replace(described, oauth2=structs.replace(described.oauth2, revocation_url=None))

    hub.registry.change("strict", without)
    assert await revocations.foretold(hub, [ada]) == ["Strict cannot be told: the owner ends the consent there."]
    assert await enrollments.delete(hub, account_id, ada, "test") == "owner ends it at the vendor"
    assert await told(hub, *EVENTS) == [
        ("enrollment.deleted", ada, {"vendor": "strict", "revocation": "none"}),
        ("enrollment.revoked", ada, {"vendor": "strict", "how": "owner ends it at the vendor"}),
    ]
    assert await waiting(hub) == 0


async def test_whatever_goes_wrong_the_tokens_are_erased_after_a_day(
    hub: Hub, owners: Owners, account_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await enrollments.delete(hub, account_id, await owners.consents("ada"), "test")

    async def breaks(*_: object) -> None:
        raise RuntimeError("ada#1")

    monkeypatch.setattr(hub.registry, "revoke", breaks)
    await work(hub)
    assert (await waiting(hub), await outcomes(hub)) == (1, [])
    await later(hub, monkeypatch, revocations.GIVE_UP_AFTER_S)
    await work(hub)
    assert (await waiting(hub), await outcomes(hub)) == (0, ["failed"])
    assert "ada#1" not in caplog.text


async def test_nothing_of_a_token_can_be_read_from_the_table(hub: Hub, owners: Owners, account_id: str) -> None:
    ada = await owners.consents("ada")
    await enrollments.delete(hub, account_id, ada, "test")
    async with hub.store.read() as session:
        row = await session.get(Revocation, ada)
    assert row is not None
    assert b"ada#1" not in row.sealed
    assert b"a-secret" not in row.sealed
    assert "ada#1" not in repr(revocations._unsealed(hub, ada, row.sealed))
