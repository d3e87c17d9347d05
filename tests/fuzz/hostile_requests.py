"""Bytes that no document describes: callbacks, headers and framing, at the real web server (`make fuzz`).

    .venv/bin/python tests/fuzz/hostile_requests.py --requests 20000 [--seed 1]

Each request is made of pieces that servers have stumbled over, put together and cut by chance. Whatever it is: no
answer is a 5xx, none opens anything without a token or the owner's cookie, none repeats a text unescaped, no vendor
is called and nothing is enrolled; and the server still answers.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from api.fakes import begin, count
from fuzz.world import World, opened
from joinder.runtime.serve import web_server
from loopback import staying

AT_ONCE, WAITS_S = 16, 1.0
MARK = "<script>mark()</script>"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
OPEN_PATHS = ("/health/", "/.well-known/", "/openapi.json", "/docs", "/join/", "/oauth2/", "/style", "/ ", "/?")
TEXTS = (
    *("", "x", MARK, "\r\nset-cookie: a=b", "\x00", "%00", "%0d%0a", "\u202e\u2066", "é" * 9, "\ud83d", "A" * 43),
    *("A" * 3000, "../../etc/passwd", "..%2f..", "' OR 1=1 --", "{{7*7}}", "${jndi:x}", "-1", "1e309", "null", "[]"),
)
NAMES = (
    *("state", "code", "error", "iss", "error_description"),
    *("scope", "link", "ui_locales", "vendor", "reference", "?"),
)
VENDORS = ("sunny", "cloudy", "boxy", "nobody", "SUNNY", "..", "%73unny", "sunny%2f..", "a" * 300)
PATHS = (
    *("/sites", "/enrollments", "/join/flows", "/vendor-credentials?includeSecrets=true", "/webhooks"),
    *("/virtual/sites", "/health/ready", "/oauth2/token", "/join/connection", "/join/reconnect"),
    *("/docs", "/metrics", "//sites", "/"),
)
HEADERS = (
    *("host", "content-length", "transfer-encoding", "connection", "cookie", "authorization", "x-forwarded-for"),
    *("accept", "accept-encoding", "accept-language", "if-none-match", "idempotency-key", "api-version", "origin"),
    *("x-request-id", "sec-fetch-site", "content-type", "range", "expect", "upgrade", "x-http-method-override", "te"),
)
VALUES = (
    *("*", "*/*;q=9", "gzip;q=nan", "chunked", "chunked, identity", "0", "-5", "99999999999999999999", "close, te"),
    *("Bearer ", "Bearer x.y.z", "Bearer " + "e" * 5000, "Basic !!!", "Basic Og==", "127.0.0.1, unknown, [::1]:99"),
    *("application/json; charset=utf-7", "text/html", 'W/"x", *', "de-DE-x-a;q=x, *", "100-continue", "h2c", ",,,,"),
)
METHODS = (
    *("GET", "GET", "GET", "POST", "PUT", "PATCH"),
    *("DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "G\u00c9T"),
)


@dataclass
class Seen:
    """What came of it: answers by status (0: none), and what must not be."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, request: bytes, answer: bytes, *, is_known: bool) -> None:
        found = STATUS.match(answer)
        status = int(found[1]) if found else 0
        self.statuses[status] += 1
        reasons = [
            "a server error" if status >= 500 else "",
            "a text that is not escaped" if MARK.encode() in answer.partition(b"\r\n\r\n")[2] else "",
            "a header that was smuggled in" if b"\nset-cookie: a=b" in answer.partition(b"\r\n\r\n")[0].lower() else "",
            "an open door" if 200 <= status < 300 and not is_known and not _is_open(request) else "",
        ]
        self.wrong += [f"{why}: {status} to {request[:300]!r}" for why in reasons if why]


def _is_open(request: bytes) -> bool:
    line = request.split(b"\r\n")[0].decode("latin-1")
    method, _, target = line.partition(" ")
    return method == "OPTIONS" or f"{target} ".startswith(OPEN_PATHS)


class Maker:
    """Makes requests; the same seed makes the same ones."""

    def __init__(self, seed: int, state: str, token: str) -> None:
        self._random, self._state, self._token = random.Random(seed), state, token  # noqa: S311 - no secret

    def request(self) -> tuple[bytes, bool]:
        """Returns a request, and whether it bears a token."""
        pick = self._random.choice
        is_callback = self._random.random() < 0.4
        target = self._callback() if is_callback else pick(PATHS)
        method = "GET" if is_callback and self._random.random() < 0.8 else pick(METHODS)
        headers = [("host", "127.0.0.1"), ("connection", "close")]
        headers += [(pick(HEADERS), pick(VALUES + TEXTS)) for _ in range(self._random.randrange(4))]
        is_known = self._random.random() < 0.3
        headers += [("authorization", f"Bearer {self._token}")] if is_known else []
        headers += [("x-forwarded-for", f"203.0.113.{self._random.randrange(256)}")]
        self._random.shuffle(headers)
        body = pick(("", "", "{}", "null", "a=b&a=c", "link=x&csrf=" + quote(MARK), "[" * 3000, "\xff\xfe"))
        headers += [("content-length", str(len(body.encode("latin-1"))))] if body and pick((True, True, False)) else []
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", body]
        return self._cut("\r\n".join(lines).encode("utf-8", "surrogatepass")), is_known

    def _callback(self) -> str:
        pairs = [(self._random.choice(NAMES), self._random.choice(TEXTS)) for _ in range(self._random.randrange(6))]
        pairs += [("state", self._state)] if self._random.random() < 0.5 else []
        encode = self._random.choice((quote, quote, lambda text, **_: text.replace(" ", "+").replace("\r\n", "")))
        query = "&".join(f"{name}={encode(text, errors='surrogatepass')}" for name, text in pairs)
        return f"/join/{self._random.choice(VENDORS)}/auth-granted?{query}"

    def _cut(self, request: bytes) -> bytes:
        """Changes a byte or cuts the end off, now and then."""
        chance = self._random.random()
        place = self._random.randrange(len(request))
        if chance < 0.1:
            return request[:place]
        if chance < 0.25:
            return request[:place] + self._random.randbytes(self._random.randrange(1, 4)) + request[place + 1 :]
        return request


async def sent(port: int, request: bytes) -> bytes:
    """Sends it, and returns what was answered soon: the server waits longer for what was cut off than we do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with suppress(ConnectionError, TimeoutError):
        writer.write(request)
        async with asyncio.timeout(WAITS_S):
            while part := await reader.read(65536):
                answer += part
    writer.close()
    return answer


@asynccontextmanager
async def listening(world: World) -> AsyncIterator[int]:
    """Serves by the web server that `joinder serve` has."""
    server = web_server(world.hub)
    serving = asyncio.create_task(server.serve())
    port = world.hub.settings.port
    while not await _answers(port):
        await asyncio.sleep(0.05)
    yield port
    server.stop()  # type: ignore[no-untyped-call]
    await serving


async def _answers(port: int) -> bool:
    try:
        return b" 200 " in await sent(port, b"GET /health/live HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    except ConnectionError:
        return False


async def fuzzed(world: World, requests: int, seed: int) -> Seen:
    """Sends so many, and returns what came of them."""
    async with world.browser() as browser:  # whose cookie no request has
        state = await begin(browser, world.flow_id)
    maker, seen, left = Maker(seed, state, world.tokens["one"]), Seen(), iter(range(requests))
    before = (list(world.vendors.sunny.calls), await count(world.hub, "enrollment"))

    async def one_after_another(port: int) -> None:
        for _ in left:
            request, is_known = maker.request()
            seen.note(request, await sent(port, request), is_known=is_known)

    async with listening(world) as port:
        await asyncio.gather(*(one_after_another(port) for _ in range(AT_ONCE)))
        seen.wrong += [] if await _answers(port) else ["it answers no more"]
    after = (list(world.vendors.sunny.calls), await count(world.hub, "enrollment"))
    seen.wrong += [] if after == before else ["a vendor was called, or somebody enrolled"]
    return seen


async def main(requests: int, seed: int) -> int:
    """Prints what was answered how often, and what must not be."""
    with staying(), tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as world:
            seen = await fuzzed(world, requests, seed)
    print(f"seed {seed}: {sum(seen.statuses.values())} requests, answers {dict(sorted(seen.statuses.items()))}")
    print(*seen.wrong[:50], f"{len(seen.wrong)} that must not be", sep="\n")
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 - told, so that it can be had again
    asked = parser.parse_args()
    sys.exit(asyncio.run(main(asked.requests, asked.seed)))
