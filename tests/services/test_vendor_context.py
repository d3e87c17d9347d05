"""What core lends to a plugin, and what it does not."""

from __future__ import annotations

import pytest

from joinder.errors import PluginBug
from joinder.runtime.hub import Hub
from joinder.services.calls.vendor_context import vendor_context


def test_a_vendor_that_declares_no_device_access_gets_none(hub: Hub) -> None:
    with pytest.raises(PluginBug):
        vendor_context(hub, "strict", None).device("192.168.10.5")
