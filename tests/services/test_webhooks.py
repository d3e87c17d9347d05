"""Endpoints: what may be one, whose it is, what is stored of it; and events as they are listed."""

from __future__ import annotations

import ast
import re
from ipaddress import ip_address
from pathlib import Path

import httpcore
import pytest
from msgspec import structs

import joinder
from joinder.errors import TransientError
from joinder.http import HttpFactory
from joinder.ids import new_id
from joinder.runtime.hub import Hub, open_hub
from joinder.services.events import deliveries, replays, webhooks
from joinder.services.records import accounts, events
from joinder.services.records.event_types import EVENT_TYPES
from joinder.services.refusals import Conflict, Invalid, NotFound
from joinder.settings import Settings
from joinder.store.tables import Event, WebhookEndpoint
from joinder.store.vault import SealBroken
from joinder.vendors.registry import Registry
from services.conftest import Enroll

URL = "https://hook.example/joinder"
HOSTILE = (
    "", "hook.example", "ftp://hook.example/", "http://hook.example/", "https://", "https://user:pass@hook.example/",
    "https://hook.example/#part", "https://hook.example\\@evil.example/", "javascript:alert(1)", "https://127.0.0.1/",
    "https://localhost/", "http://localhost:8080/", "https://10.0.0.1/", "https://192.168.1.1/", "https://[::1]/",
    "https://169.254.169.254/latest/meta-data", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
    "https://100.64.0.1/", "https://0.0.0.0/", "https://224.0.0.1/", "https://hook.example/" + "x" * 2000,
    "https://hook.example:99999/", "http://127.0.0.2/", "http://[::1]/",
)  # fmt: skip


async def refused(hub: Hub, account_id: str, url: str) -> bool:
    try:
        await webhooks.create(hub, account_id, "test", url=url, types=[])
    except Invalid as error:
        return set(error.errors) == {"/url"}
    return False


async def test_only_public_https_addresses(hub: Hub, account_id: str) -> None:
    for url in HOSTILE:
        assert await refused(hub, account_id, url), url
    assert await webhooks.list_page(hub, account_id, after="", limit=10) == []
    assert not await refused(hub, account_id, URL)


async def test_loopback_only_while_the_server_is_there_itself(
    settings: Settings, registry: Registry, account_id: str, hub: Hub
) -> None:
    assert not await refused(hub, account_id, "http://127.0.0.1:9999/hook")
    public = structs.replace(settings, public_url="https://hub.example")
    async with open_hub(public, registry) as production:
        assert await refused(production, account_id, "http://127.0.0.1:9999/hook")
        with pytest.raises(TransientError):
            await production.http.webhooks().post("http://127.0.0.1:9999/hook", b"{}", {}, deadline=1.0)
        for one, wanted in ((hub, "must be https, or http://127.0.0.1"), (production, "must be https")):
            for url in ("http://localhost:9999/hook", "http://hook.example/"):
                with pytest.raises(Invalid) as seen:
                    await webhooks.create(one, account_id, "test", url=url, types=[])
                assert seen.value.errors == {"/url": wanted}


@pytest.mark.parametrize("url", [url for url in HOSTILE if url.startswith("http")])
async def test_the_client_itself_opens_no_socket_to_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before a rule, or a name that leads somewhere else by now."""
    opened = []

    async def connect(*arguments: object, **_: object) -> None:
        opened.append(arguments)
        raise httpcore.ConnectError("none in this test")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    factory = HttpFactory()
    with pytest.raises(TransientError):
        await factory.webhooks().post(url, b"{}", {}, deadline=1.0)
    await factory.close()
    assert opened == []


async def test_a_name_that_leads_inside_is_refused_where_the_socket_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    async def connect(_: object, host: str, *__: object, **___: object) -> None:
        opened.append(host)
        raise httpcore.ConnectError("none in this test")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    factory = HttpFactory()
    for answers, reached in ((["10.0.0.8"], []), (["93.184.216.34", "127.0.0.1"], []), (["93.184.216.34"], 1)):

        async def resolve(*_: object, found: list[str] = answers) -> list[object]:
            return [ip_address(address) for address in found]

        monkeypatch.setattr("joinder.egress._resolve", resolve)
        with pytest.raises(TransientError):
            await factory.webhooks().post(URL, b"{}", {}, deadline=1.0)
        assert opened == (["93.184.216.34"] if reached else [])
    await factory.close()


async def test_unknown_types_are_named(hub: Hub, account_id: str) -> None:
    with pytest.raises(Invalid) as caught:
        await webhooks.create(hub, account_id, "test", url=URL, types=["enrollment.created", "enrollment.exploded"])
    assert set(caught.value.errors) == {"/types/1"}


async def test_an_account_has_so_many(hub: Hub, account_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
    for _ in range(2):
        await webhooks.create(hub, account_id, "test", url=URL, types=[])
    with pytest.raises(Conflict):
        await webhooks.create(hub, account_id, "test", url=URL, types=[])
    other = (await accounts.create_account(hub, "other")).id
    await webhooks.create(hub, other, "test", url=URL, types=[])


async def test_nobody_elses_endpoint_can_be_used(hub: Hub, account_id: str) -> None:
    made = await webhooks.create(hub, account_id, "test", url=URL, types=[])
    _, event = await replays.send_test(hub, account_id, made.row.id, "test")
    ((delivery, _),) = await replays.list_page(hub, account_id, made.row.id, status=None, after="", limit=5)
    other = (await accounts.create_account(hub, "other")).id
    theirs = await webhooks.create(hub, other, "test", url=URL, types=[])
    for call in (
        webhooks.get(hub, other, made.row.id),
        webhooks.change(hub, other, made.row.id, "test", patch={"url": "http://wrong"}),
        webhooks.delete(hub, other, made.row.id, "test"),
        webhooks.rotate(hub, other, made.row.id, "test"),
        replays.send_test(hub, other, made.row.id, "test"),
        replays.list_page(hub, other, made.row.id, status=None, after="", limit=5),
        replays.replay(hub, other, made.row.id, delivery.id, "test"),
        replays.replay(hub, other, theirs.row.id, delivery.id, "test"),
        replays.replay_since(hub, other, made.row.id, "test", since=0),
    ):
        with pytest.raises(NotFound):
            await call
    assert await webhooks.list_page(hub, other, after="", limit=10) == [theirs.row]
    assert await replays.replay_since(hub, other, theirs.row.id, "test", since=0) == 0
    with pytest.raises(Invalid):
        await events.list_page(hub, other, enrollment_id=None, kind=None, after=event.id, limit=5)


async def test_a_secret_opens_in_its_own_row_and_column_only(hub: Hub, account_id: str) -> None:
    first = await webhooks.create(hub, account_id, "test", url=URL, types=[])
    second = await webhooks.create(hub, account_id, "test", url=URL, types=[])
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", first.secret)
    assert first.secret != second.secret
    assert first.secret not in repr(first)
    assert first.secret not in repr(webhooks.signing_secrets(hub, first.row))
    moved = WebhookEndpoint(**{**second.row.model_dump(), "secret_sealed": first.row.secret_sealed})
    with pytest.raises(SealBroken):
        webhooks.signing_secrets(hub, moved)
    old = {"old_secret_sealed": second.row.secret_sealed, "old_secret_until": 2**40}
    swapped = WebhookEndpoint(**{**second.row.model_dump(), **old})
    with pytest.raises(SealBroken):
        webhooks.signing_secrets(hub, swapped)


async def test_deleting_takes_its_deliveries_along(hub: Hub, account_id: str) -> None:
    made = await webhooks.create(hub, account_id, "test", url=URL, types=[])
    await replays.send_test(hub, account_id, made.row.id, "test")
    await webhooks.delete(hub, account_id, made.row.id, "test")
    assert await deliveries.DELIVERY.due(hub) == []
    assert (await hub.store.rows("SELECT count(*) FROM delivery", {}))[0][0] == 0


async def test_events_are_listed_in_order_page_by_page(hub: Hub, account_id: str, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        for at in (7, 3, 3, 9, 1):
            row = {"account_id": account_id, "enrollment_id": enrollment_id, "type": "t", "data": {"at": at}, "at": at}
            session.add(Event(id=new_id("evnt"), **row))
    seen: list[int] = []
    after = ""
    while page := await events.list_page(hub, account_id, enrollment_id=enrollment_id, kind="t", after=after, limit=2):
        seen += [told.data["at"] for told in page]
        after = page[-1].row.id
    assert seen == [1, 3, 3, 7, 9]
    (created,) = await events.list_page(
        hub, account_id, enrollment_id=None, kind="enrollment.created", after="", limit=9
    )
    assert created.data == {"enrollmentID": enrollment_id, "vendor": "strict"}


def _written() -> list[tuple[str, list[str]]]:
    """(type, members of data) of every event the services write."""
    found = []
    for file in (Path(joinder.__file__).parent / "services").rglob("*.py"):
        tree = ast.parse(file.read_text())
        passing = [node for node in ast.walk(tree) if _passes_on(node)]
        inside = {id(call) for node in passing for call in _calls(node, {"write_event"})}
        for call in _calls(tree, {"write_event", *(getattr(node, "name", "") for node in passing)}):
            if id(call) not in inside:
                kind, data = call.args[2], _literal(call.args[3], tree)
                assert isinstance(kind, ast.Constant)
                found.append((str(kind.value), [str(key.value) for key in data.keys if isinstance(key, ast.Constant)]))
    return found


def _calls(tree: ast.AST, names: set[str]) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in calls if getattr(node.func, "attr", getattr(node.func, "id", "")) in names]


def _passes_on(node: ast.AST) -> bool:
    """A function that writes an event of the kind it is given: those who call it are asked instead."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    given = {argument.arg for argument in node.args.args}
    kinds = [call.args[2] for call in _calls(node, {"write_event"})]
    return any(isinstance(kind, ast.Name) and kind.id in given for kind in kinds)


def _literal(data: ast.expr, tree: ast.Module) -> ast.Dict:
    """Of a name: the dict that was given to it last before."""
    if isinstance(data, ast.Name):
        given = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value]
        named = [node for node in given if ast.unparse(getattr(node, "target", None) or node.targets[0]) == data.id]
        data = max((node for node in named if node.lineno < data.lineno), key=lambda node: node.lineno).value
    assert isinstance(data, ast.Dict)
    return data


def test_every_event_that_is_written_is_documented_and_in_wire_names() -> None:
    written = _written()
    assert len(written) >= 7
    for kind, members in written:
        assert kind in EVENT_TYPES, kind
        assert all(re.fullmatch(r"[a-z][A-Za-z]*", member) for member in members), (kind, members)


def test_the_page_lists_every_type() -> None:
    page = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z._]+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == EVENT_TYPES
