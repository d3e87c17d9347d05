"""The README's main command, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

VENDORS = ["enphase", "enphasevpp", "iqgateway", "sma", "solaredge", "solis", "tesla"]


async def joinder(*arguments: str) -> tuple[int, str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "joinder",
        *arguments,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_shows_every_vendor_with_a_day_and_live_power(tmp_path: Path) -> None:
    code, out, err = await joinder("demo", "--once", "--json", "--folder", str(tmp_path / "demo"))
    assert code == 0, err
    summary = json.loads(out)
    assert [seen["vendor"] for seen in summary["vendors"]] == VENDORS
    assert [seen["vendor"] for seen in summary["vendors"] if seen["wasPending"]] == ["enphasevpp"]
    for seen in summary["vendors"]:
        assert seen["health"] == "ok"
        assert seen["quarterHours"] == len(seen["curve"]) == 96
        assert seen["solarInverters"] > 0
        assert seen["dayKwh"] > 1
        live = seen["live"]
        balance = live["solarKw"] + live["batteryKw"] + live["gridKw"]
        assert abs(balance - live["loadKw"]) <= 0.01 * max(live["loadKw"], live["solarKw"], 0.1)
    steps = (tmp_path / "demo/steps.sh").read_text()
    assert "\ncurl -X POST" in steps
    assert all(line.startswith(("curl ", "#")) for line in steps.splitlines())
    assert len(err.splitlines()) <= len(VENDORS) + 3
    secret = next(line for line in (tmp_path / "demo/demo.env").read_text().splitlines() if "CLIENT_SECRET" in line)
    assert secret.split("=", 1)[1] not in err + out + steps


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_days_before_are_fetched_of_every_vendor_and_polled_of_a_gateway(tmp_path: Path) -> None:
    code, out, err = await joinder("demo", "--once", "--days", "3", "--json", "--folder", str(tmp_path / "demo"))
    assert code == 0, err
    steps = (tmp_path / "demo/steps.sh").read_text()
    assert steps.count("\n# History of ") == len(VENDORS) - 1
    assert "24 of 72 h" in steps
    assert {seen["quarterHours"] for seen in json.loads(out)["vendors"]} == {96}


async def test_a_failing_step_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("not the demo's")
    code, out, err = await joinder("demo", "--once", "--json", "--folder", str(tmp_path))
    assert (code, json.loads(out)["failedStep"]) == (1, "folder")
    assert "not the demo's" in err
    assert (tmp_path / "mine").exists()


async def test_without_a_key_nothing_starts() -> None:
    code, _, err = await joinder("accounts", "list")
    assert code == 78
    assert "joinder keys create" in err
    assert "Traceback" not in err
