"""The conformance kit in a process of its own: it listens to every logger, and a plugin may block it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass

FAILED_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one vendor's plugin. `at` is epoch seconds; `reasons` are of the checks that failed."""

    passed: int
    failed: int
    skipped: int
    not_applicable: int
    reasons: list[str]
    at: int


class CheckBroke(Exception):
    """The kit did not run to its end."""


async def check(vendor: str) -> Result:
    """Checks as `joinder check` does. Raises CheckBroke."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "joinder", "check", vendor, "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return _result(json.loads(out))
    except ValueError:
        raise CheckBroke(said.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing") from None


def _result(rows: list[dict[str, str]]) -> Result:
    from joinder.clock import now

    counts = Counter(row["state"] for row in rows)
    return Result(
        passed=counts["passed"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        not_applicable=counts["n/a"],
        reasons=[f"{row['check'].replace('_', ' ')}: {row['reason']}" for row in rows if row["state"] == "failed"],
        at=now(),
    )
