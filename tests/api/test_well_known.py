"""Files a vendor fetches: what it declares, what the operator put there, and nothing else."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from msgspec import structs

from api.fakes import assert_problem
from joinder.runtime.hub import Hub

DATABASES = ("sqlite",)  # nothing here depends on the database

PATH = "/.well-known/sunny/key.pem"
PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYH\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    made = tmp_path / "public"
    made.mkdir()
    hub.settings = structs.replace(hub.settings, public_files=str(made))
    return made


async def test_a_declared_file_is_served_without_a_token(anonymous: httpx.AsyncClient, folder: Path) -> None:
    (folder / "key.pem").write_text(PEM)
    answer = await anonymous.get(PATH)
    assert (answer.status_code, answer.text) == (200, PEM)
    assert answer.headers["content-type"].startswith("application/x-pem-file")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_nothing_is_served_without_a_folder(anonymous: httpx.AsyncClient) -> None:
    assert_problem(await anonymous.get(PATH), 404, "not-found")


async def test_a_file_no_vendor_declares_is_not_served(anonymous: httpx.AsyncClient, folder: Path) -> None:
    (folder / "other.pem").write_text(PEM)
    (folder / "key.pem").write_text(PEM)
    for path in ("/.well-known/other.pem", "/.well-known/key.pem", "/.well-known/sunny/../sunny/other.pem"):
        assert (await anonymous.get(path)).status_code == 404, path


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN EC PRIVATE" + " KEY-----\nx\n",
        PEM + "-----BEGIN PRIVATE" + " KEY-----\nx\n",
        "hello",
        "",
        PEM + "x" * 70_000,
    ],
)
async def test_what_is_no_public_key_is_never_served(anonymous: httpx.AsyncClient, folder: Path, text: str) -> None:
    (folder / "key.pem").write_text(text)
    assert_problem(await anonymous.get(PATH), 404, "not-found")


async def test_a_link_does_not_lead_out_of_the_folder(anonymous: httpx.AsyncClient, folder: Path) -> None:
    (folder.parent / "outside.pem").write_text(PEM)
    (folder / "key.pem").symlink_to(folder.parent / "outside.pem")
    assert (await anonymous.get(PATH)).status_code == 404
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()
    assert (await anonymous.get(PATH)).status_code == 404
