"""`joinder tui --serve`: only the browser of who started it gets the terminal; nothing is started for anybody else."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tui.own_server import UPGRADE, Served, started

GIVES_UP_S = 60.0
PATHS = ("/", "/ws", "/static/js/textual.js", "/static/", "/page/page.js", "/download/x", "/nothing", "//ws", "/%77s")
PAGE, SOCKET, FILE = "/", "/ws?width=80&height=24", "/static/css/xterm.css"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with started(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture(autouse=True)
def nothing_is_left_running(served: Served) -> Iterator[None]:
    yield
    assert served.children() == []


FOREIGN = {
    "another site": {"Origin": "https://evil.example"},
    "another site of this name": {"Origin": "http://127.0.0.1.evil.example:{port}"},
    "null": {"Origin": "null"},
    "no value": {"Origin": ""},
    "another scheme": {"Origin": "https://{authority}"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "no port": {"Origin": "http://127.0.0.1"},
    "another name of loopback": {"Origin": "http://localhost:{port}"},
    "loopback of IPv6": {"Origin": "http://[::1]:{port}"},
    "upper case": {"Origin": "HTTP://{authority}"},
    "a path behind": {"Origin": "http://{authority}/"},
    "a user before": {"Origin": "http://x@{authority}"},
}
HOSTS = {
    "a name that leads here": "evil.example:{port}",
    "a name that begins like it": "127.0.0.1.evil.example:{port}",
    "another name of loopback": "localhost:{port}",
    "upper case": "LOCALHOST:{port}",
    "loopback of IPv6": "[::1]:{port}",
    "mapped": "[::ffff:127.0.0.1]:{port}",
    "another address of loopback": "127.0.0.2:{port}",
    "short": "127.1:{port}",
    "a number": "2130706433:{port}",
    "a dot behind": "127.0.0.1.:{port}",
    "no port": "127.0.0.1",
    "an empty port": "127.0.0.1:",
    "a zero before the port": "127.0.0.1:0{port}",
    "nothing": "",
    "a user before": "x@127.0.0.1:{port}",
    "two": "127.0.0.1:{port}, evil.example",
}


@pytest.mark.parametrize("path", [PAGE, SOCKET, FILE])
@pytest.mark.parametrize("kind", FOREIGN)
def test_another_origin_is_refused(served: Served, kind: str, path: str) -> None:
    origin = FOREIGN[kind]["Origin"].format(port=served.port, authority=served.authority)
    assert served.ask(path, Origin=origin) == 403


@pytest.mark.parametrize("path", [PAGE, SOCKET, FILE])
@pytest.mark.parametrize("kind", HOSTS)
def test_another_host_is_refused_also_with_an_origin_that_fits_it(served: Served, kind: str, path: str) -> None:
    host = HOSTS[kind].format(port=served.port)
    assert served.ask(path, Host=host) == 403
    assert served.ask(path, Host=host, Origin=f"http://{host}") == 403


def test_a_missing_or_second_host_is_refused(served: Served) -> None:
    assert served.ask(PAGE, Host=None) in (400, 403)
    twice = [("Host", served.authority), ("Host", "evil.example")]
    assert served.head(f"/?token={served.token}", *twice)[0] in (400, 403)


def test_a_whole_url_as_the_target_does_not_stand_for_the_host(served: Served) -> None:
    assert served.ask(f"http://evil.example{PAGE}", Host="evil.example") == 403


@pytest.mark.parametrize("path", ["/ws", "/ws?width=80", "/ws/"])
def test_a_websocket_must_have_an_origin_and_one_only(served: Served, path: str) -> None:
    assert served.ask(path, Origin=None) == 403
    two = [("Host", served.authority), ("Origin", served.origin), ("Origin", "https://evil.example")]
    mark = "&" if "?" in path else "?"
    assert served.head(f"{path}{mark}token={served.token}", *two, *UPGRADE.items())[0] == 403


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(served: Served, path: str) -> None:
    assert served.ask(path, token="") == 403


@pytest.mark.parametrize("path", [PAGE, SOCKET, FILE])
def test_a_wrong_token_is_refused(served: Served, path: str) -> None:
    right = served.token
    swapped = right.swapcase()
    for wrong in ("x", right[:-1], right + "x", swapped, "%00", "%FF", "%C3%A9" * 9, f"{right}&token={right}"):
        assert served.ask(path, token=wrong) == 403
    for wrong in ("", "x", right[:-1], swapped, "é"):
        assert served.ask(path, token="", cookie=wrong) == 403


def test_a_token_of_another_start_is_refused(served: Served, tmp_path: Path) -> None:
    with started(tmp_path) as other:
        assert other.token != served.token
        assert (served.ask(PAGE, token=other.token), other.ask(PAGE, token=served.token)) == (403, 403)
        assert (served.ask(PAGE), other.ask(PAGE)) == (200, 200)


def test_a_wrong_token_is_refused_beside_the_right_cookie(served: Served) -> None:
    assert served.ask(PAGE, token="x", cookie=served.token) == 403


def test_a_refusal_is_a_sentence_without_the_token(served: Served) -> None:
    status, text = served.head("/", ("Host", served.authority))
    body = text.partition("\r\n\r\n")[2].strip()
    assert status == 403
    assert body.endswith(".")
    assert served.token not in text


def test_the_page_gives_the_token_to_this_site_only(served: Served) -> None:
    status, text = served.head(f"/?token={served.token}", ("Host", served.authority))
    headers = text.partition("\r\n\r\n")[0].lower()
    assert status == 200
    (cookie,) = re.findall(r"set-cookie: (.*)", headers)
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie
    for kept in ("referrer-policy: no-referrer", "cache-control: no-store", "frame-ancestors 'none'"):
        assert kept in headers


async def test_the_page_asks_nobody_else_and_runs_no_script_of_its_own(served: Served) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(served.url) as page:
            text, policy = await page.text(), page.headers["Content-Security-Policy"]
        named = re.findall(r'(?:href|src)="([^"]*)"', text)
        files = [name.removeprefix(served.origin) for name in named if name != "data:,"]
        for file in files:
            async with browser.get(f"{served.origin}{file}") as answer:
                assert answer.status == 200, file
    assert len(files) == 4
    assert all(file.startswith("/") for file in files)
    assert "script-src 'self';" in policy
    assert not re.search(r"<script>|<style>|\son\w+=|style=", text)
    assert "<title>Joinder</title>" in text


def test_files_come_with_the_cookie_as_browsers_ask_for_them(served: Served) -> None:
    assert served.ask(FILE, token="", cookie=served.token, Origin=None) == 200


async def test_the_honest_browser_gets_the_screen(served: Served) -> None:
    """With cookies alone, as textual-serve's page opens its WebSocket."""
    jar = aiohttp.CookieJar(unsafe=True)  # also of an address
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(served.url) as page:
            text = await page.text()
            assert page.status == 200
        (address,) = re.findall(r'data-session-websocket-url="([^"]+)"', text)
        assert served.token not in text
        assert address == f"ws://{served.authority}/ws"
        drawn = b""
        async with browser.ws_connect(f"{address}?width=120&height=40", origin=served.origin) as screen:
            until = time.monotonic() + GIVES_UP_S
            while b"Renewals" not in drawn and time.monotonic() < until:
                message = await screen.receive(timeout=GIVES_UP_S)
                drawn += message.data if isinstance(message.data, bytes) else b""
        assert b"Renewals" in drawn
    until = time.monotonic() + GIVES_UP_S
    while served.children() and time.monotonic() < until:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(("host", "written"), [("::1", "[::1]"), ("localhost", "localhost")])
def test_each_name_of_loopback_is_its_own_origin(tmp_path: Path, host: str, written: str) -> None:
    with started(tmp_path, host) as one:
        assert one.host == written
        assert (one.ask(PAGE), one.ask(FILE)) == (200, 200)
        assert one.ask(PAGE, Host=f"127.0.0.1:{one.port}", Origin=None) == 403


def test_a_port_that_is_taken_is_a_sentence(served: Served, tmp_path: Path) -> None:
    env = {**os.environ, "JOINDER_DATABASE_URL": f"sqlite:///{tmp_path}/joinder.sqlite3"}
    asked = [sys.executable, "-m", "joinder_tui.cli", "--serve", "--port", str(served.port)]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f":{served.port}: another program listens there already; stop it, or set --port" in done.stderr
    assert "token" not in done.stdout
    assert "Traceback" not in done.stderr
