"""Keys for browsers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from joinder.clock import utc_text
from joinder.services.records.access_tokens import AccessToken
from joinder.wire.base import Body, Moment, Wire


class NewBrowserKey(Body, kw_only=True):
    minutes: Annotated[int, Meta(ge=1, le=60)] = 15


class BrowserKey(Wire, kw_only=True):
    """`accessToken` goes into `Authorization: Bearer …`, until `expiresAt`."""

    access_token: str
    expires_at: Moment

    @staticmethod
    def of(token: AccessToken) -> BrowserKey:
        return BrowserKey(access_token=token.access_token, expires_at=utc_text(int(token.expires_at)))
