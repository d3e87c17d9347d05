"""`joinder read-gateway` against the simulator, and against what is none."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from joinder_iq_gateway.cli import Stopped, command, split_host
from joinder_iq_gateway.info import TOO_OLD
from joinder_iq_gateway.simulator import SERIAL
from payloads.gateway_server import Recorded, mint, serving
from plugins.iqgateway.gateway import Bench, bench


async def run(*arguments: str, token: str) -> Result:
    """In a thread: the command has an event loop of its own. The token goes in by stdin."""
    return await asyncio.to_thread(CliRunner().invoke, command, [*arguments, "--token-file", "-"], token)


def host(one: Bench) -> str:
    return one.origin.removeprefix("https://")


async def test_table_and_hint_how_to_pin() -> None:
    async with bench(time.time()) as one:
        token = one.box.mint()
        result = await run(host(one), token=f"{token}\n")
        assert result.exit_code == 0
        for label in ("production", "consumption", "net", "storage", "state of charge", "lifetime production"):
            assert f"\n{label} " in result.stdout
        assert SERIAL in result.stdout
        assert result.stdout.count("inverter ") == 12
        assert "--pin" in result.stderr
        assert token not in result.output
        assert "eyJ" not in result.output


async def test_json_with_a_pin_is_one_object() -> None:
    async with bench(time.time()) as one:
        token = one.box.mint()
        seen = json.loads((await run(host(one), "--json", token=token)).stdout)["cert_sha256"]
        pin = ":".join(seen[at : at + 2] for at in range(0, 64, 2)).upper()
        result = await run(host(one), "--json", "--pin", pin, token=token)
        report = json.loads(result.stdout)
        home = one.box.home.power(one.simulator.clock.time())
    assert result.exit_code == 0
    assert result.stderr == ""
    assert (report["serial"], report["firmware"], report["pinned"]) == (SERIAL, "8.3.5167", True)
    assert report["readings"]["live"]["load_w"] == home.load_w
    assert "eyJ" not in result.output


async def test_token_from_a_file(tmp_path: Path) -> None:
    async with bench(time.time()) as one:
        file = tmp_path / "token"
        file.write_text(one.box.mint())
        result = await asyncio.to_thread(CliRunner().invoke, command, [host(one), "--token-file", str(file)])
    assert result.exit_code == 0


async def test_wrong_pin_sends_nothing() -> None:
    async with bench(time.time()) as one:
        result = await run(host(one), "--pin", "ab" * 32, token=one.box.mint())
        assert result.exit_code == 1
        assert "another certificate" in result.stderr
        assert not one.box.requests


@pytest.mark.parametrize("changes", [{"aud": "1"}, {"exp": 1}, {"role": "installer"}, {"iss": "x"}])
async def test_token_that_cannot_work_exits_5(changes: dict[str, object]) -> None:
    async with bench(time.time()) as one:
        token = one.box.mint(**changes)  # type: ignore[arg-type]
        result = await run(host(one), token=token)
        assert one.box.with_token == 0
    assert result.exit_code == 5
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) <= 5
    assert token not in result.output


async def test_token_the_box_refuses_exits_5() -> None:
    async with bench(time.time()) as one:
        result = await run(host(one), token=mint(SERIAL, int(time.time())))
    assert result.exit_code == 5
    assert "no longer accepted" in " ".join(result.stderr.split())


async def test_nobody_there_exits_6() -> None:
    result = await run("127.0.0.1:9", token=mint(SERIAL, int(time.time())))
    assert result.exit_code == 6
    assert "cannot be reached" in result.stderr


@pytest.mark.parametrize("tls", [True, False])
async def test_firmware_before_tokens(tls: bool) -> None:
    """Real ones speak plain HTTP only; over TLS the missing tag says the same."""
    at = int(time.time())
    body = b"<envoy_info><device><sn>1</sn><software>R4.10.35</software></device></envoy_info>"
    token = mint("1", at)
    if tls:
        async with bench(at) as one:
            one.box.firmware = "4.10.35"
            result = await run(host(one), token=one.box.mint())
            assert one.box.with_token == 0
    else:
        with serving(lambda path: Recorded(200, "text/xml", body), token, None) as port:
            result = await run(f"127.0.0.1:{port}", token=token)
    assert result.exit_code == 1
    assert " ".join(TOO_OLD.split()[:6]) in " ".join(result.stderr.split())


async def test_other_page_is_no_gateway() -> None:
    async with bench(time.time()) as one:
        await one.fault("html", "/info")
        result = await run(host(one), token=one.box.mint())
    assert result.exit_code == 1
    assert "XML" in result.stderr
    assert "Maintenance" not in result.output


def test_hosts() -> None:
    assert split_host("192.168.1.50") == ("192.168.1.50", 443)
    assert split_host("192.168.1.50:8443") == ("192.168.1.50", 8443)
    assert split_host("envoy.local") == ("envoy.local", 443)
    assert split_host("fd00::1") == ("fd00::1", 443)
    assert split_host("[fd00::1]:8443") == ("fd00::1", 8443)
    for text in ("https://envoy.local", "a b", "a:b", "a:0", "a:70000", ":443", "", "x@y"):
        with pytest.raises(Stopped):
            split_host(text)


def test_token_file_of_anything_else(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(bytes(range(256)))
    result = CliRunner().invoke(command, ["127.0.0.1:9", "--token-file", str(tmp_path / "token")])
    assert result.exit_code == 5


def test_pin_must_be_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    result = CliRunner().invoke(command, ["h", "--token-file", str(tmp_path / "token"), "--pin", "abc"])
    assert result.exit_code == 1
    assert "64 hexadecimal" in result.stderr
