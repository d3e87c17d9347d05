"""What a caller calls an enrollment: its own reference, and the `state` of the join that made it.

Both are the caller's own words, which Joinder stores and tells and never reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from joinder.clean import clean_line
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.refusals import Invalid
from joinder.store.tables import Enrollment, JoinSession

REFERENCE_MOST = 256


@dataclass(frozen=True, kw_only=True)
class Labels:
    """None: not given."""

    reference: str | None = None
    state: str | None = None

    @staticmethod
    def of(row: JoinSession) -> Labels:
        return Labels(reference=row.client_reference, state=row.client_state)

    def put_on(self, enrollment: Enrollment) -> None:
        """Writes down what is given; a join without them leaves those of before."""
        enrollment.reference = self.reference or enrollment.reference
        enrollment.client_state = self.state or enrollment.client_state


NO_LABELS = Labels()


def problem_with(reference: str) -> str | None:
    """Says what is wrong with a reference; None when nothing is."""
    if not 0 < len(reference) <= REFERENCE_MOST:
        return f"must have 1 to {REFERENCE_MOST} characters"
    return None if clean_line(reference) == reference else "must be one line of printable characters"


async def change(hub: Hub, account_id: str, enrollment_id: str, actor: str, *, reference: str | None) -> None:
    """Replaces its reference; None removes it. Raises NotFound or Invalid."""
    problem = problem_with(reference) if reference is not None else None
    async with hub.store.write(enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        if problem is not None:
            raise Invalid("The reference cannot be stored", errors={"/reference": problem})
        if row.reference != reference:
            row.reference = reference
            audit(session, account_id, actor, "enrollment.label", enrollment_id)
