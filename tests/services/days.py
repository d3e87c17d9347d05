"""A moment for tests that stand still: noon of a day with no clock change near it, on whatever day they run."""

from datetime import UTC, datetime

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
