"""A check that Schemathesis loads beside its own: no answer to one account is about a row of another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import schemathesis
from schemathesis import Case, CheckContext, Response

VARIABLE = "FUZZ_OWNED"  # a file: ids by account


@schemathesis.check
def nothing_of_another_account(ctx: CheckContext, response: Response, case: Case) -> None:
    mine, is_public = case.auth_identity, not case.operation.definition.raw.get("security")
    if mine is None or is_public or not 200 <= response.status_code < 300:
        return
    owned = json.loads(Path(os.environ[VARIABLE]).read_text())
    asked = urlsplit(response.request.url)
    path = "" if response.request.method == "OPTIONS" else asked.path  # the same whatever is there, or not
    others = [one for account, ids in owned.items() if account != mine for one in ids]
    shown = [one for one in others if one in f"{path} {response.text}"]
    assert shown == [], f"{mine} was shown {', '.join(shown)}"
    if any(one in asked.query for one in others):  # a filter, by which nothing is found, as by an id that nobody has
        rows = [value for value in response.json().values() if isinstance(value, list)]
        assert not any(rows), f"{mine} was shown what is of another's {asked.query}"
