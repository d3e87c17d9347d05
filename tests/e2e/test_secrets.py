"""A whole run: what it prints works as it is pasted; none of its secrets is in a log or in the database's bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import pytest

from joinder.demo.sequence import connect
from joinder.demo.stack import Running, stack
from joinder.services.records.accounts import NewClient
from joinder.simulate.oauth import Issued, TokenService

README = Path(__file__).parents[2] / "README.md"
PUBLIC = {"code", "authorization_code", "refresh_token", "client_credentials", "password", "grants", "connect"}
IN_QUERY_OR_BODY = {
    *("state", "code", "key", "apiKey", "clientSecret", "refresh_token", "form_token", "token"),
    *("keySecret", "consentClientSecret", "external_id"),
}


class Collector:
    """Sees what the integrator, the owner, the vendor and the demo's own services handle."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def add(self, kind: str, value: str) -> None:
        if len(value) >= 6 and value not in PUBLIC:
            self.secrets.setdefault(value, kind)

    def see(self, request: httpx.Request) -> None:
        self.add("authorization", request.headers.get("authorization", "").partition(" ")[2])
        for cookie in request.headers.get("cookie", "").split("; "):
            self.add("cookie", cookie.partition("=")[2])
        body = request.content if isinstance(getattr(request, "_content", None), bytes) else b""
        for text in (request.url.query.decode(), body.decode(errors="replace")):
            for name, value in parse_qsl(text):
                if name in IN_QUERY_OR_BODY and not value.startswith("integrator-"):
                    self.add(name, value)
        if "/join/sessions/" in request.url.path:
            self.add("session", request.url.path.rsplit("/", 1)[1])


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Collector:
    seen = Collector()
    send, issue, new_code = httpx.AsyncClient.send, TokenService.issue, TokenService.new_code

    async def sent(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        seen.see(request)
        return await send(self, request, **options)

    def issued(self: TokenService, *arguments: Any) -> Issued:
        answer = issue(self, *arguments)
        seen.add("access_token", answer.access_token)
        seen.add("refresh_token", answer.refresh_token)
        return answer

    def coded(self: TokenService, *arguments: Any) -> str:
        code = new_code(self, *arguments)
        seen.add("code", code)
        return code

    monkeypatch.setattr(httpx.AsyncClient, "send", sent)
    monkeypatch.setattr(TokenService, "issue", issued)
    monkeypatch.setattr(TokenService, "new_code", coded)
    monkeypatch.setattr("joinder.demo.sequence.secrets", SimpleNamespace(token_urlsafe=lambda _: "integrator-state"))
    return seen


async def pasted(*lines: str) -> tuple[int, str]:
    """Into a newcomer's shell, which knows nothing of Joinder."""
    env = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-e",
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate("\n".join(lines).encode())
    assert process.returncode is not None
    return process.returncode, out.decode()


async def everything_said_is_pasted(demo: Running, said: list[str], folder: Path) -> None:
    """Pastes the README's three calls, each curl of the demo, and `joinder`, into another shell."""
    env = f". {shlex.quote(str(folder / 'demo.env'))}"
    calls = README.read_text().split("## The three calls")[1].split("```sh\n")[1].split("```")[0]
    code, out = await pasted(calls.replace(". .joinder-demo/demo.env", env))
    assert (code, json.loads(out[out.index("{") :])["vendors"][0]["vendor"]) == (0, "enphase"), out
    curls = [line for line in said if line.startswith("curl ")]
    assert len(curls) > 2 * len(demo.simulators)
    for line in curls:
        code, out = await pasted(env, line.replace("curl ", "curl -sS --fail-with-body ", 1))
        assert code == 0, (line, out)
    code, out = await pasted(env, "joinder enrollments list --json")
    assert (code, len(json.loads(out)) >= len(demo.simulators)) == (0, True), out
    assert (await pasted(env, 'test -n "$JOINDER_TOKEN"'))[0] == 0


def forms(secret: str) -> list[bytes]:
    encoded = base64.b64encode(secret.encode()).rstrip(b"=")
    return [secret.encode(), quote(secret, safe="").encode(), encoded[: len(encoded) // 4 * 4]]


@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_what_is_printed_works_and_no_secret_of_the_whole_run_is_in_any_log(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOINDER_LOG_LEVEL", "DEBUG")
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with stack(tmp_path / "a folder", said.append) as demo:
        for simulator in demo.simulators:
            await connect(demo, simulator, said.append)
            for name, value in {**(simulator.app_credentials or {}), **simulator.owner_form}.items():
                if name in IN_QUERY_OR_BODY:
                    collector.add(name, value)
        await everything_said_is_pasted(demo, said, tmp_path / "a folder")
        collector.add("jwt", demo.token)
        collector.add("kek", (tmp_path / "a folder/joinder.key").read_text().strip())
        env = (tmp_path / "a folder/demo.env").read_text()
        collector.add("client secret", env.split("CLIENT_SECRET=")[1].split("\n")[0])
        database = b"".join(path.read_bytes() for path in (tmp_path / "a folder").glob("joinder.sqlite3*"))
    server_log = (tmp_path / "a folder/server.log").read_bytes()
    logs = {
        "server log": server_log,
        "this process's log": caplog.text.encode(),
        "what the demo said": "\n".join(said).replace(demo.url, "").encode(),
    }
    kinds = sorted(set(collector.secrets.values()))
    assert {"access_token", "refresh_token", "code", "state", "cookie", "token", "clientSecret", "apiKey"} <= set(kinds)
    assert b"DEBUG" in server_log
    hits = [
        (where, kind)
        for where, text in {**logs, "database": database}.items()
        for secret, kind in collector.secrets.items()
        if any(form in text for form in forms(secret))
    ]
    size = sum(map(len, logs.values()))
    print(f"\n{len(collector.secrets)} secrets of {len(kinds)} kinds, {size} bytes of logs: {len(hits)} hits")
    assert hits == []


def test_the_client_secret_is_not_in_its_repr() -> None:
    assert "s3cret" not in repr(NewClient(client_id="a", client_secret="s3cret", account_id="b", scopes=()))
