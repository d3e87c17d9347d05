"""The least a server of the same data can be: ASGI, sqlite3 and msgspec. Nobody is asked who they are."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import msgspec

CONSTANT = b'{"sites":[' + b",".join(b'{"id":"site-aaaaaaaaaaaaaaaa"}' for _ in range(100)) + b'],"errors":{}}'
DAY = (
    "SELECT start, \"end\", solar_wh, quality FROM interval WHERE subject_id = ? AND resolution = '15mins' "
    "AND start >= ? AND start < ? ORDER BY start"
)


class Interval(msgspec.Struct):
    kwh: float
    start: str
    end: str
    quality: str


class Intervals(msgspec.Struct):
    id: str
    summaryLevel: str
    intervals: list[Interval]


class Reference(msgspec.Struct):
    id: str


class Sites(msgspec.Struct):
    sites: list[Reference]
    errors: dict[str, str]
    nextPageToken: str | None = None


def create(path: Path) -> Any:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    encode = msgspec.json.Encoder().encode

    def sites(asked: dict[str, list[str]]) -> bytes:
        size = int(asked["pageSize"][0])
        found = connection.execute(
            "SELECT id FROM site WHERE account_id = (SELECT id FROM account) AND id > ? ORDER BY id LIMIT ?",
            ("", size + 1),
        ).fetchall()
        following = found[size - 1][0] if len(found) > size else None
        return encode(Sites([Reference(row[0]) for row in found[:size]], {}, following))

    def day(site_id: str, asked: dict[str, list[str]]) -> bytes:
        start, end = (int(datetime.fromisoformat(asked[name][0]).timestamp()) for name in ("start", "end"))
        ((timezone,),) = connection.execute("SELECT timezone FROM site WHERE id = ?", (site_id,)).fetchall()
        zone = ZoneInfo(timezone)
        rows = connection.execute(DAY, (site_id, start, end)).fetchall()
        return encode(Intervals(site_id, "15mins", [_interval(row, zone) for row in rows]))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path, asked = scope["path"], parse_qs(scope["query_string"].decode())
        if path == "/constant":
            body = CONSTANT
        elif path == "/sites":
            body = sites(asked)
        else:
            body = day(path.split("/")[2], asked)
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


def _interval(row: tuple[Any, ...], zone: ZoneInfo) -> Interval:
    start, end = (datetime.fromtimestamp(at, zone).isoformat() for at in row[:2])
    return Interval(round(row[2] / 1000, 6), start, end, row[3])
