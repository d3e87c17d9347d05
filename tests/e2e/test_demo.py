"""The README's main command, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from joinder.demo.sequence import enrollment
from joinder.demo.stack import stack

README = Path(__file__).parents[2] / "README.md"
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


async def pasted(*lines: str) -> tuple[int, str]:
    """Into a newcomer's shell, which knows nothing of Joinder."""
    env = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-e",
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate("\n".join(lines).encode())
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_what_is_printed_works_as_it_is_pasted(tmp_path: Path) -> None:
    """The README's three calls, each curl of the demo, and `joinder`, in another shell while the demo is up."""
    said: list[str] = []
    folder = tmp_path / "a folder"
    async with stack(folder, said.append) as demo:
        for simulator in demo.simulators:
            await enrollment(demo.api, simulator, said.append, demo.url)
        env = f". {shlex.quote(str(folder / 'demo.env'))}"
        calls = README.read_text().split("## The three calls")[1].split("```sh\n")[1].split("```")[0]
        code, out = await pasted(calls.replace(". .joinder-demo/demo.env", env))
        assert (code, json.loads(out[out.index("{") :])["vendors"][0]["vendor"]) == (0, "enphase"), out
        curls = [line for line in said if line.startswith("curl ")]
        assert len(curls) > 2 * len(demo.simulators)
        for line in curls:
            code, out = await pasted(env, line.replace("curl ", "curl -sS --fail-with-body ", 1))
            assert code == 0, (line, out)
        code, out = await pasted(env, "joinder enrollments list --json")
        assert (code, len(json.loads(out))) == (0, len(demo.simulators)), out
        assert (await pasted(env, 'test -n "$JOINDER_TOKEN"'))[0] == 0


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
