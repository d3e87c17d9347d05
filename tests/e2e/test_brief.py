"""The commands of the commercial product's own guide, as printed there, changed in nothing but the host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import World
from e2e.serving import serving
from support import shared


def printed_commands() -> list[str]:
    text = "\n".join(path.read_text() for path in shared("brief").glob("*.txt") if "curl \\" in path.read_text())
    return re.findall(r"^\$ (curl \\\n(?:.*\n)*?\}')$", text, re.MULTILINE)


def run(command: str, env: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(["sh", "-c", command], env={**os.environ, **env}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_brief_s_curl_commands_work_as_printed(world: World, tmp_path: Path) -> None:
    create_credentials, create_flow = printed_commands()
    url = world.settings.public_url
    app = {"ENPHASE_CLIENT_ID": "an-id", "ENPHASE_CLIENT_SECRET": "a-secret", "ENPHASE_API_KEY": "a-key"}
    async with serving(world.settings, tmp_path):
        grant = f"curl -s -u {world.client.client_id}:{world.client.client_secret} -d grant_type=client_credentials"
        token = run(f"{grant} {url}/oauth2/token", {})
        assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
        env = {**app, "DERAPI_TOKEN": str(token["access_token"])}
        made = run(create_credentials.replace("https://api.derapi.com", url), env)
        assert made == {
            "id": made["id"],
            "name": "my-app",
            "credentials": {"vendor": "enphase", "type": "developerapp"},
        }
        with_id = create_flow.replace("cred-rvu37v4fylnbuznf", str(made["id"]))
        flow = run(with_id.replace("https://api.derapi.com", url), env)
        assert flow == {
            "id": flow["id"],
            "vendors": [{"vendor": "enphase", "credentialsID": made["id"]}],
            "redirectURI": "https://example.com/auth-success",
        }
