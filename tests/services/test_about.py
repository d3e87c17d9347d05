"""A line that a plugin logs says which enrollment of which vendor it was about."""

from __future__ import annotations

import pytest

from joinder.errors import PluginBug
from joinder.grants import Context, Grant
from joinder.observe.log_context import bound
from joinder.runtime.hub import Hub
from joinder.services.readings.vendor_calls import with_grant
from log_lines import json_lines
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

DATABASES = ("sqlite",)  # nothing here depends on the database


async def test_lines_inside_a_hook_name_enrollment_and_vendor(hub: Hub, enroll: Enroll, vendor: StrictVendor) -> None:
    enrollment_id = await enroll("anna")

    async def chatty(ctx: Context) -> str:
        ctx.log.warning("odd answer")
        raise KeyError("x")

    async def call(ctx: Context, grant: Grant) -> str:
        return await hub.registry._answer(vendor.name, "fetch_site", str, str, lambda: chatty(ctx))

    with json_lines(f"joinder.vendor.{vendor.name}") as lines, pytest.raises(PluginBug):
        await with_grant(hub, enrollment_id, call)
    (line,) = lines
    assert (line["event"], line["logger"]) == ("odd answer", f"joinder.vendor.{vendor.name}")
    assert (line["enrollment_id"], line["vendor"]) == (enrollment_id, vendor.name)
    assert bound() == {}
    counted = {"vendor": vendor.name, "outcome": "plugin-bug"}
    assert hub.metrics.registry.get_sample_value("joinder_vendor_calls_total", counted) == 1
