"""One exchange of a refresh token for the next."""

from __future__ import annotations

from dataclasses import dataclass

from joinder.services.records.opened_grant import OpenedGrant
from joinder.vendor import Vendor


@dataclass(frozen=True, kw_only=True)
class RefreshAttempt:
    """One exchange, its intent already on disk."""

    held: OpenedGrant
    vendor: Vendor
    lease: str
    intent_id: str

    @property
    def enrollment_id(self) -> str:
        return self.held.row.id

    @property
    def version(self) -> int:
        return self.held.row.version

    @property
    def follows_unknown(self) -> bool:
        """Tells whether an earlier exchange with this very token never told its outcome."""
        return self.held.row.intent_count > 0
