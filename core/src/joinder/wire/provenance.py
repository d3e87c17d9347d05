"""Where a value comes from."""

from __future__ import annotations

from collections.abc import Sequence

from joinder.services.readings.provenance import Source
from joinder.wire.base import Moment, Wire, utc_text


class Provenance(Wire, kw_only=True):
    """With `provenance=true`: what was called, what read it, when, and the rule that made it partial or estimated."""

    endpoints: list[str]
    plugin: str | None = None
    version: str | None = None
    fetched_at: Moment
    rule: str | None = None

    @staticmethod
    def of(fetched_at: int, found: Sequence[Source], rule: str | None = None) -> Provenance:
        """Tells where a value comes from, maybe by several calls: all their endpoints, and the plugin of the first.

        `fetched_at`: epoch seconds.
        """
        return Provenance(
            endpoints=sorted({endpoint for source in found for endpoint in source.endpoints if endpoint}),
            plugin=found[0].plugin if found else None,
            version=found[0].version if found else None,
            fetched_at=utc_text(fetched_at),
            rule=rule,
        )
