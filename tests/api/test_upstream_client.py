"""The product's public Python client, `derapi` 0.1.2, against a running server.

It pins httpx<0.28, so it lives in a virtual environment of its own, made once under the temporary folder from PyPI.
Needs the network for that, which `make test` never uses: it runs only with JOINDER_UPSTREAM_CLIENT=1.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar import Litestar
from msgspec.structs import replace

from api.conftest import NewTenant
from api.fakes import EVERYTHING, SUNNY, FakeVendor, Vendors
from api.test_reads import home_series
from joinder.vendor import AppCredentialType, Field, Flow

DATABASES = ("sqlite",)  # nothing here depends on the database

UV = Path(__file__).parents[2] / ".uv/bin/uv"
VENV = Path(tempfile.gettempdir()) / "joinder-derapi-0.1.2"
SCRIPT = Path(__file__).with_name("upstream_client.py")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.environ.get("JOINDER_UPSTREAM_CLIENT") != "1", reason="JOINDER_UPSTREAM_CLIENT=1 runs it"),
]


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that has the client; skips where it cannot be had."""
    interpreter = VENV / "bin/python"
    if not (VENV / "complete").exists():
        if not UV.exists():
            pytest.skip(f"{UV} is not there; run `make install`")
        environment = {**os.environ, "UV_PYTHON_PREFERENCE": "only-system", "UV_PYTHON_DOWNLOADS": "never"}
        for arguments in (
            ("venv", "--clear", "--quiet", str(VENV)),
            ("pip", "install", "--quiet", "--python", str(interpreter), "derapi==0.1.2"),
        ):
            done = subprocess.run((str(UV), *arguments), env=environment, capture_output=True, timeout=60, check=False)
            if done.returncode:
                pytest.skip(f"the client cannot be installed: {done.stderr.decode()[-300:]}")
        (VENV / "complete").touch()
    return str(interpreter)


@pytest.fixture
def vendors() -> Vendors:
    """One vendor under a name the client knows; its partner apps open their sites without an owner."""
    fields = tuple(Field(name=name, label=name) for name in ("clientID", "clientSecret", "apiKey"))
    kinds = (
        AppCredentialType(type="developerapp", label="Developer", fields=fields),
        AppCredentialType(type="partnerapp", label="Partner", fields=fields, flow=Flow.OPERATOR),
    )
    enphase = FakeVendor(replace(SUNNY, name="enphase", app_credentials=kinds), readings=home_series)
    return Vendors(sunny=enphase)


@pytest.fixture
async def origin(app: Litestar) -> AsyncIterator[str]:
    """The app served on 127.0.0.1."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving
    listener.close()


async def _run(python: str, origin: str, token: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        python, str(SCRIPT), origin, token, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()[-2000:]
    seen: dict[str, Any] = json.loads(output)
    return seen


async def test_it_works_unchanged(python: str, origin: str, new_tenant: NewTenant) -> None:
    token = (await new_tenant(EVERYTHING)).api.headers["authorization"].removeprefix("Bearer ")
    seen = await _run(python, origin, token)
    for name, body in seen["empty"].items():
        assert body == {name: [], "errors": {}}
    assert {len(body[name]) for name, body in seen["full"].items()} == {1}

    credentials = seen["credentials"]
    assert credentials["made"]["credentials"] == {"vendor": "enphase", "type": "developerapp"}
    assert credentials["raw"]["credentials"]["clientSecret"] == "upstream-secret"
    assert credentials["changed"]["name"] == "renamed"
    assert credentials["listed"] == [credentials["made"]["id"]]
    assert credentials["deleted"] == 204

    home = seen["home"]
    assert (home["site"]["vendor"], home["site"]["name"]) == ("enphase", "Home")
    assert home["site"]["location"]["timezone"] == "Europe/Berlin"
    assert home["inverter"]["lifetimeProduction"]["kwh"] == 1234.567
    assert (home["battery"]["nameplateKwh"], home["battery"]["mode"]) == (10.0, "Backup")
    assert home["battery"]["recentErrors"][0] == {"error": "Fan blocked"}
    assert len(home["solar"]["intervals"]) == len(home["charge"]["intervals"]) == 24
    assert home["quarters"] == [96, 96, 96, 96]
