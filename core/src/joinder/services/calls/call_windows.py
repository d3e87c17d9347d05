"""The windows in which a vendor app's calls are counted: a minute, a day or a month of UTC, a row of `quota` each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from sqlalchemy import BigInteger, TextClause, bindparam, text

from joinder.vendor import Limits, Per, Scope


@dataclass(frozen=True)
class CallWindow:
    """One limit and its running window, in epoch seconds."""

    name: str
    limit: int
    start: int
    end: int


Scopes = tuple[Scope, ...]


def spans(limits: Limits, moment: int, scopes: Scopes = ("app",)) -> list[CallWindow]:
    """Returns the limits a vendor declares of these, each with the window `moment` (epoch seconds) falls into."""
    day = moment - moment % 86400
    at = datetime.fromtimestamp(moment, UTC)
    month = int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp())
    next_month = int(datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC).timestamp())
    minute = moment - moment % 60
    hour = moment - moment % 3600
    windows: tuple[tuple[Per, int, int], ...] = (
        ("minute", minute, minute + 60),
        ("hour", hour, hour + 3600),
        ("day", day, day + 86400),
        ("month", month, next_month),
    )
    return [
        CallWindow(name, limit, start, end)
        for name, start, end in windows
        if (limit := limits.most(name, scopes)) is not None
    ]


def statement(sql: str, *numbers: str) -> TextClause:
    """Declares `numbers` as 64 bits wide, as PostgreSQL would take them for 32."""
    return text(sql).bindparams(*(bindparam(name, type_=BigInteger) for name in numbers))


@cache
def taking(names: tuple[str, ...]) -> TextClause:
    """Makes one statement for all windows. A window's own row is answered only when there is room in it."""
    rows = ", ".join(f"(:app, '{name}', :{name}, :calls)" for name in names)
    most = " ".join(f"WHEN '{name}' THEN :{name}_most" for name in names)
    numbers = [number for name in names for number in (name, f"{name}_most")]
    return statement(
        f'INSERT INTO quota (app, span, "window", used) VALUES {rows} '  # noqa: S608 - names of our own
        'ON CONFLICT (app, span, "window") DO UPDATE SET used = quota.used + excluded.used '
        f"WHERE quota.used + excluded.used <= CASE quota.span {most} ELSE 0 END RETURNING span, used",
        *("calls", *numbers),
    )
