"""304 for a read of settled history that is asked again, before anything is read.

Such an answer depends on the store alone: no clock moves it, no vendor is asked for more (`Page.is_settled`). So it is
what it was as long as nobody committed anything. Where a commit came, it is read as ever, and transfer.py compares what
was read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from litestar import Request, Response
from msgspec import Struct

from joinder.api.transfer import is_known, tag_of
from joinder.api.weights import listed
from joinder.services.records.accounts import Caller
from joinder.store.types import Stamp

KEPT_MOST = 4096
Incoming = Request[Any, Any, Any]


class _Kept(Struct, frozen=True):
    tag: str
    stamp: Stamp
    headers: dict[str, str]


class Settled:
    """What was answered to whom, and when."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, _Kept] = OrderedDict()

    def unchanged(self, request: Incoming) -> Response[None] | None:
        """Answers 304 where the caller, who is let in already, has what would be read."""
        given = listed(request.scope["headers"], b"if-none-match")
        if given is None:
            return None
        kept = self._kept.get(_key(request))
        if kept is None or kept.stamp != request.scope["state"]["stamp"] or not is_known(kept.tag.encode(), given):
            return None
        return Response(None, status_code=304, headers={**kept.headers, "etag": kept.tag})

    def keep(self, request: Incoming, body: bytes, headers: dict[str, str]) -> str | None:
        """Remembers an answer that was read since the caller was let in; returns its tag, None where that is no use."""
        stamp: Stamp | None = request.scope["state"]["stamp"]
        if stamp is None:
            return None
        key, tag = _key(request), tag_of(body).decode()
        self._kept[key] = _Kept(tag, stamp, headers)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MOST:
            self._kept.popitem(last=False)
        return tag


def _key(request: Incoming) -> object:
    scope, sent = request.scope, request.scope["headers"]
    caller: Caller = scope["state"]["caller"]
    who = (caller.account_id, caller.client_id, caller.enrollment_id)
    return who, scope["path"], scope["query_string"], listed(sent, b"accept"), listed(sent, b"api-version")
