"""`joinder demo --cluster`: two servers and two workers on one PostgreSQL, of which one worker is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e.test_demo import VENDORS, joinder
from joinder.commands.demo import command
from joinder.demo.postgres import NoPostgres, find_binaries

pytestmark = [pytest.mark.timeout(400), pytest.mark.proof]
PROCESSES = ["server-1", "server-2", "worker-1", "worker-2"]


@pytest.fixture(autouse=True)
def _marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process below inherits it, PostgreSQL's too."""
    try:
        find_binaries()
    except NoPostgres as error:
        pytest.skip(str(error))
    monkeypatch.setenv("E2E_FOLDER", str(tmp_path))


def left_running(folder: Path) -> list[str]:
    """Command lines of the processes that the test began and that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"E2E_FOLDER={folder}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # gone, or somebody else's
    return found


async def test_two_servers_and_two_workers_share_the_work_and_one_may_die(tmp_path: Path) -> None:
    code, out, err = await joinder("demo", "--cluster", "--once", "--json", "--folder", str(tmp_path / "demo"))
    assert code == 0, err
    summary = json.loads(out)
    assert [(seen["vendor"], seen["health"]) for seen in summary["vendors"]] == [(name, "ok") for name in VENDORS]
    shown = summary["cluster"]
    work = {row["process"]: row for row in shown["work"]}
    assert list(work) == PROCESSES
    assert work["server-1"]["requests"] > 10
    assert work["server-2"]["requests"] > 10
    assert work["worker-1"]["vendorCalls"] > 0
    assert work["worker-2"]["vendorCalls"] > 0
    assert shown["consentsAcrossServers"] == ["enphasevpp", "sma"]
    assert shown["callsAfterKill"] >= len(VENDORS)
    second = (tmp_path / "demo/server-2.log").read_text()
    assert "GET /join/flows/{flow_id}/authorize: 303" in second
    assert "auth-granted" not in second
    assert left_running(tmp_path) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_nothing_is_left_when_it_is_stopped_early(tmp_path: Path, how: signal.Signals) -> None:
    arguments = (sys.executable, "-m", "joinder", "demo", "--cluster", "--folder", str(tmp_path / "demo"))
    demo = await asyncio.create_subprocess_exec(
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job inherits none
    )
    assert demo.stdout is not None
    async for line in demo.stdout:
        if b"Starting server-1" in line:
            break
    demo.send_signal(how)
    _, err = await demo.communicate()
    assert b"Traceback" not in err, err.decode()
    assert left_running(tmp_path) == []


def test_without_postgresql_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joinder.demo.postgres.PLACES", ())
    monkeypatch.setattr("shutil.which", lambda _: None)
    done = CliRunner().invoke(command, ["--cluster", "--once", "--json", "--folder", str(tmp_path / "demo")])
    assert (done.exit_code, json.loads(done.stdout)["failedStep"]) == (1, "postgresql")
    assert "apt-get install postgresql" in done.stderr
