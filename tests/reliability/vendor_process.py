"""A token endpoint in a process of its own, as hard as vendors get: a refresh token works once, and using one again
revokes the whole grant. It answers as the template vendor (joinder_acme) does, on bare asyncio, so that it is fast.

Refresh tokens are `owner#number`; an owner's first token is number 1. Beside `/token` and the data paths:
`POST /_rules` changes how it behaves (Rules), `GET /_state` tells what it has seen, `POST /hook` takes webhooks.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

HOSTS = ("auth.acme.example", "api.acme.example")
Answer = tuple[int, dict[str, Any]]


class Rules(msgspec.Struct, kw_only=True):
    """Seconds. The token rotates between `before_s` and `after_s`; `slow_share` of the calls take up to `slow_s` more.

    `mode`: strict, grace (the last spent token still works for `grace_s`), or keep (tokens are not spent at all).
    """

    mode: str = "strict"
    grace_s: float = 86400.0
    before_s: float = 0.0
    after_s: float = 0.0
    jitter_s: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 0.0
    life_s: tuple[int, int] = (3600, 7200)
    status: int = 200  # anything else is answered to /token instead of a token, and nothing rotates
    trickle_s: float = 0.0  # between the pieces of a token's answer
    pieces: int = 1000  # as many as it has bytes, at most


class Family:
    """One owner's grant."""

    def __init__(self) -> None:
        self.current = 1
        self.rotated_at = 0.0
        self.revoked = False


class Vendor:
    def __init__(self) -> None:
        self.rules = Rules()
        self.families: dict[str, Family] = {}
        self.exchanges: Counter[str] = Counter()  # by owner, rotations
        self.calls: Counter[str] = Counter()  # by owner, whatever came of them
        self.in_flight: Counter[str] = Counter()  # by token
        self.overlaps = 0
        self.reuse_seen = 0
        self.hooks: list[str] = []

    async def token(self, body: str) -> Answer:
        token = parse_qs(body).get("refresh_token", [""])[0]
        owner, _, number = token.rpartition("#")
        self.calls[owner] += 1
        self.in_flight[token] += 1
        self.overlaps += self.in_flight[token] > 1
        try:
            return await self._exchanged(owner, int(number), self.rules)
        finally:
            self.in_flight[token] -= 1

    async def _exchanged(self, owner: str, number: int, rules: Rules) -> Answer:
        slow = random.random() < rules.slow_share  # noqa: S311 - jitter
        longest = rules.slow_s if slow else rules.jitter_s
        wait_s = random.uniform(0, longest)  # noqa: S311
        share = random.random()  # noqa: S311 - of the wait that lies before the rotation
        await asyncio.sleep(rules.before_s + wait_s * share)
        if rules.status != 200:
            return rules.status, {"error": "temporarily_unavailable"}
        family = self.families.setdefault(owner, Family())
        if not self._accepted(family, number, rules):
            return 400, {"error": "invalid_grant"}
        self.exchanges[owner] += 1
        if rules.mode != "keep":
            family.current += 1
            family.rotated_at = time.monotonic()
        told = f"{owner}#{family.current}"
        await asyncio.sleep(rules.after_s + wait_s * (1 - share))
        life_s = random.randint(*rules.life_s)  # noqa: S311
        return 200, {"access_token": f"access-{told}", "refresh_token": told, "expires_in": life_s}

    def _accepted(self, family: Family, number: int, rules: Rules) -> bool:
        if family.revoked or number == family.current:
            return not family.revoked
        self.reuse_seen += 1
        if rules.mode == "grace" and number == family.current - 1:
            return time.monotonic() - family.rotated_at < rules.grace_s
        family.revoked = True
        return False

    def state(self) -> dict[str, Any]:
        return {
            "exchanges": sum(self.exchanges.values()),
            "by_owner": self.exchanges,
            "calls": self.calls,
            "overlaps": self.overlaps,
            "reuse_seen": self.reuse_seen,
            "families_revoked": sum(family.revoked for family in self.families.values()),
            "in_flight": sum(self.in_flight.values()),
            "hooks": self.hooks,
        }


class _Server:
    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                line, headers = head
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
                method, target, _ = line.split(" ", 2)
                status, answer = await self._answer(method, unquote(urlsplit(target).path), target, headers, body)
                await self._write(writer, status, answer, trickled="token" in target)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _write(self, writer: asyncio.StreamWriter, status: int, answer: object, *, trickled: bool) -> None:
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        whole, wait_s = head.encode() + body, self._vendor.rules.trickle_s
        if not (trickled and wait_s):
            writer.write(whole)
            return
        size = -(-len(whole) // self._vendor.rules.pieces)
        for at in range(0, len(whole), size):
            if writer.is_closing():
                return
            writer.write(whole[at : at + size])
            await asyncio.sleep(wait_s)

    async def _answer(self, method: str, path: str, target: str, headers: dict[str, str], body: str) -> Answer:
        vendor = self._vendor
        if path == "/token":
            return await vendor.token(body)
        if path == "/hook":
            vendor.hooks.append(headers["webhook-id"])
            return 200, {}
        if path == "/_rules":
            vendor.rules = msgspec.json.decode(body, type=Rules)
            return 200, {}
        if path == "/_state":
            return 200, vendor.state()
        return 200, _of_site(path, parse_qs(urlsplit(target).query))


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    return lines[0], {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}


def _of_site(path: str, query: dict[str, list[str]]) -> dict[str, Any]:
    if path.endswith("/energy"):
        start, end = (datetime.fromisoformat(query[name][0]) for name in ("start", "end"))
        step = timedelta(minutes=15) if query["step"] == ["15mins"] else timedelta(days=1)
        spans = [start + step * number for number in range(int((end - start) / step))]
        return {"rows": [{"start": at.isoformat(), "end": (at + step).isoformat(), "solar": 100.5} for at in spans]}
    if path.endswith("/power"):
        return {"at": datetime.now(UTC).isoformat(), "solar": 1200.0}
    site = path.rpartition("/")[2]
    return {"id": site, "name": site, "timezone": "Europe/Berlin", "devices": []}


class VendorProcess:
    """The test's end of it."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    @property
    def reroute(self) -> dict[str, str]:
        return dict.fromkeys(HOSTS, self.origin)

    def rules(self, **changed: Any) -> None:
        """From now on; what is not named is as it was at the start."""
        self._call("/_rules", msgspec.json.encode(Rules(**changed)))

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._call("/_state"))
        return told

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self.origin + path, data=body, timeout=60) as answer:  # noqa: S310 - loopback
            told: bytes = answer.read()
        return told


@contextmanager
def vendor_process() -> Iterator[VendorProcess]:
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield VendorProcess(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


async def _main() -> None:
    server = await asyncio.start_server(_Server(Vendor()).serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
