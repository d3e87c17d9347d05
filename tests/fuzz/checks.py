"""A check that Schemathesis loads beside its own: no answer to one account is about a row of another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import schemathesis
from schemathesis import Case, CheckContext, Response

VARIABLE = "FUZZ_OWNED"  # a file: ids by account


@schemathesis.check
def nothing_of_another_account(ctx: CheckContext, response: Response, case: Case) -> None:
    mine, is_public = case.auth_identity, not case.operation.definition.raw.get("security")
    if mine is None or is_public or not 200 <= response.status_code < 300:
        return
    owned = json.loads(Path(os.environ[VARIABLE]).read_text())
    asked = "" if response.request.method == "OPTIONS" else response.request.url  # the same whatever is there, or not
    about = f"{asked} {response.text}"
    shown = [one for account, ids in owned.items() if account != mine for one in ids if one in about]
    assert shown == [], f"{mine} was shown {', '.join(shown)}"
