"""S1, S20, S23: a small budget of bytes that no document describes, and that what must not be is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.hostile_requests import MARK, Maker, Seen, fuzzed
from fuzz.world import opened

REQUESTS = 1500
GET = b"GET /sites HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_nothing_opens_breaks_or_comes_back_unescaped(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        seen = await fuzzed(world, REQUESTS, seed=1)
    print(dict(sorted(seen.statuses.items())))
    assert seen.wrong == []
    assert sum(seen.statuses.values()) == REQUESTS


WRONG = {
    "a server error": (GET, b"HTTP/1.1 500 X\r\n\r\n", True),
    "an open door": (GET, b"HTTP/1.1 200 OK\r\n\r\n[]", False),
    "a text that is not escaped": (GET, b"HTTP/1.1 400 X\r\n\r\n<p>" + MARK.encode(), True),
    "a header that was smuggled in": (GET, b"HTTP/1.1 303 X\r\nlocation: /\r\nSet-Cookie: a=b\r\n\r\n", True),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_must_not_be_is_seen(what: str) -> None:
    request, answer, is_known = WRONG[what]
    seen = Seen()
    seen.note(request, answer, is_known=is_known)
    assert [one.partition(":")[0] for one in seen.wrong] == [what]


def test_what_may_be_is_not() -> None:
    seen = Seen()
    seen.note(GET, b"HTTP/1.1 200 OK\r\n\r\n[]", is_known=True)
    seen.note(b"GET /health/live HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{}", is_known=False)
    seen.note(GET, b"HTTP/1.1 401 X\r\n\r\n", is_known=False)
    seen.note(GET, b"", is_known=False)
    assert (seen.wrong, dict(seen.statuses)) == ([], {200: 2, 401: 1, 0: 1})


def test_a_seed_makes_the_same_requests() -> None:
    first, again, other = ([Maker(seed, "s", "t").request() for _ in range(1)] for seed in (3, 3, 4))
    assert first == again != other
