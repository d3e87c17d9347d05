"""What stands in examples/ runs, as it stands there. The TypeScript one is run by test_generated.py."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from api.conftest import NewTenant
from joinder.runtime.hub import Hub
from joinder.services.events import deliveries
from served import output_of

DATABASES = ("sqlite",)  # nothing here depends on the database

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def public_url() -> str:
    """On loopback, a webhook may lead there too."""
    return "http://127.0.0.1:8080"


async def test_curl(environment: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    site, answer = (await output_of("sh", EXAMPLES / "curl/first.sh", env=environment)).strip().split("\n")
    (day,) = json.loads(answer)["intervals"]
    assert site.startswith("site site-")
    assert day["kwh"] > 0


async def test_python(environment: dict[str, str]) -> None:
    printed = await output_of(sys.executable, EXAMPLES / "python/first.py", env=environment)
    assert "kWh in 2" in printed


async def test_a_webhook_receiver_takes_what_is_signed_and_nothing_else(
    hub: Hub, new_tenant: NewTenant, tmp_path: Path
) -> None:
    api = (await new_tenant()).api
    secret = (await api.post("/webhooks", json={"url": "http://127.0.0.1:9/"})).json()
    environment = {**os.environ, "WEBHOOK_SECRET": secret["secret"]}
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / "python/webhook_receiver.py", env=environment, stdout=-1, stderr=-1
    )
    assert receiver.stdout is not None
    try:
        address = (await receiver.stdout.readline()).decode().split()[-1]
        assert (await api.patch(f"/webhooks/{secret['id']}", json={"url": address})).status_code == 200
        assert (await api.post(f"/webhooks/{secret['id']}/test")).status_code in (200, 201, 202)
        await deliveries.fan_out(hub)
        await deliveries.deliver(hub, secret["id"])
        assert (await receiver.stdout.readline()).decode().startswith("webhook.test")
        (delivery,) = (await api.get(f"/webhooks/{secret['id']}/deliveries")).json()["deliveries"]
        assert delivery["status"] == "delivered"
        async with httpx.AsyncClient() as stranger:
            headers = {"webhook-id": "evnt-1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
            assert (await stranger.post(address, content=b"{}", headers=headers)).status_code == 401
    finally:
        receiver.kill()
        await receiver.communicate()


def test_there_is_no_example_that_nobody_runs() -> None:
    folders = (EXAMPLES / name for name in ("curl", "python", "typescript"))
    programs = {path.name for folder in folders for path in folder.iterdir() if path.suffix in (".py", ".sh", ".ts")}
    assert programs == {"first.sh", "first.py", "webhook_receiver.py", "first.ts"}
