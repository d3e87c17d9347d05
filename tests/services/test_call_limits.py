"""JOINDER_CALL_LIMITS: the operator's plan in place of the vendor's smallest."""

from __future__ import annotations

import pytest
from msgspec import structs

from joinder.http import METER
from joinder.runtime.hub import open_hub
from joinder.services.admin.gauges import Gauges
from joinder.services.calls.budgets import BudgetSpent
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.join import vendor_credentials
from joinder.settings import ConfigError, Settings
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, call_limits={"strict": {"day": 3, "month": 7}})


async def test_the_plan_is_what_is_counted_and_shown(settings: Settings, registry: Registry, account_id: str) -> None:
    given = {"vendor": "strict", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    async with open_hub(settings, registry) as hub:
        app = (await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)).id
        ctx = vendor_context(hub, "strict", None, budget=app)
        meter = METER.get(ctx.http)
        assert meter is not None
        for _ in range(3):
            async with meter.call(exchange=False):
                pass
        with pytest.raises(BudgetSpent):
            async with meter.call(exchange=False):
                raise AssertionError
        shown = (await vendor_credentials.quotas(hub, account_id, app)).quotas
        assert [(one.span, one.limit, one.used) for one in shown] == [("day", 3, 3), ("month", 7, 3)]
        page = (await Gauges(hub).page()).decode()
        assert 'joinder_quota_left_ratio{span="day",vendor="strict"} 0.0' in page


async def test_a_vendor_nobody_knows_stops_the_start(settings: Settings, registry: Registry) -> None:
    misspelt = structs.replace(settings, call_limits={"strikt": {"day": 3}})
    with pytest.raises(ConfigError, match=r"JOINDER_CALL_LIMITS: no vendor is named strikt; did you mean strict\?"):
        async with open_hub(misspelt, registry):
            pass


async def test_a_plugin_that_does_not_work_stops_no_start(settings: Settings, registry: Registry) -> None:
    registry.add("broken", StrictVendor())
    limits = structs.replace(settings, call_limits={"broken": {"day": 3}})
    async with open_hub(limits, registry) as hub:
        assert [vendor.name for vendor in hub.registry.vendors] == ["strict"]
