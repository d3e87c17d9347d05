"""Fixtures of tests in which owners join: a hub whose vendors take codes and forms."""

from __future__ import annotations

import pytest

from api.fakes import Vendors
from joinder.runtime.hub import Hub
from joinder.store.tables import JoinFlow
from joinder.vendors.registry import Registry
from services.code_vendor import CodeVendor
from services.joining import APP, flow_with


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
def coded() -> CodeVendor:
    return CodeVendor()


@pytest.fixture
def registry(vendors: Vendors, coded: CodeVendor) -> Registry:
    made = vendors.registry()
    assert made.add("coded", coded).problem is None
    return made


@pytest.fixture
async def flow(hub: Hub, account_id: str) -> JoinFlow:
    return await flow_with(hub, account_id, "coded", APP)
