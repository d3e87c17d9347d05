"""A plugin's calls end after seconds, which a busy machine can miss: in tests, after ten times as many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from joinder.http import Http
from joinder.http.answers import Answer
from joinder.vendors import hook_answers

SHORT_S = 5.0  # a shorter deadline is what the test is about
TIMES = 10


@pytest.fixture(autouse=True, scope="session")
def patient_calls() -> Iterator[None]:
    complete = Http._complete

    async def patiently(http: Http, request: httpx.Request, *rest: Any, deadline: float, exchange: bool) -> Answer:
        longer = deadline * TIMES if deadline > SHORT_S else deadline
        return await complete(http, request, *rest, deadline=longer, exchange=exchange)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Http, "_complete", patiently)
        patch.setattr(hook_answers, "HOOK_DEADLINE", hook_answers.HOOK_DEADLINE * TIMES)
        yield
