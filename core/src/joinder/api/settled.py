"""304 for a read of settled history that is asked again, before anything is read (short_way.py).

Such an answer depends on the store alone: no clock moves it, no vendor is asked for more (`Page.is_settled`). So it is
what it was as long as nobody committed anything. Where a commit came, it is read as ever, and transfer.py compares what
was read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from litestar import Request
from litestar.types import Scope
from msgspec import Struct

from joinder.api.observe import route_of
from joinder.api.transfer import is_known, tag_of
from joinder.api.weights import listed
from joinder.services.records.accounts import Caller
from joinder.store.types import Stamp

KEPT_MOST = 4096


class Kept(Struct, frozen=True):
    """What is known of an answer: `needs`: the scope it takes, `route`: its template."""

    tag: str
    stamp: Stamp
    headers: dict[str, str]
    needs: str
    route: str


class Settled:
    """What was answered to whom, and when."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, Kept] = OrderedDict()

    def unchanged(self, scope: Scope, caller: Caller, stamp: Stamp | None) -> Kept | None:
        """Returns what a caller has already of what would be read. `stamp`: of the moment its token was let in."""
        kept = self._kept.get(_key(scope, caller))
        if kept is None or kept.stamp != stamp or kept.needs not in caller.scopes:
            return None
        return kept if is_known(kept.tag.encode(), listed(scope["headers"], b"if-none-match") or b"") else None

    def keep(self, request: Request[Any, Any, Any], body: bytes, headers: dict[str, str]) -> str | None:
        """Remembers an answer that was read since the caller was let in; returns its tag, None where that is no use."""
        scope = request.scope
        stamp: Stamp | None = scope["state"]["stamp"]
        if stamp is None:
            return None
        key, tag = _key(scope, scope["state"]["caller"]), tag_of(body).decode()
        self._kept[key] = Kept(tag, stamp, headers, request.route_handler.opt["scope"], route_of(scope))
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MOST:
            self._kept.popitem(last=False)
        return tag


def _key(scope: Scope, caller: Caller) -> object:
    sent = scope["headers"]
    who = (caller.account_id, caller.client_id, caller.enrollment_id)
    return who, scope["path"], scope["query_string"], listed(sent, b"accept"), listed(sent, b"api-version")
