"""The integrator's side: calls to the API, each shown as the curl that does the same."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from joinder.demo.processes import StepFailed
from joinder.services.records.accounts import NewClient

Say = Callable[[str], None]


class Api:
    """Each call goes to the next server, as behind a balancer."""

    def __init__(self, servers: Sequence[httpx.AsyncClient], say: Say) -> None:
        self._turns = itertools.cycle(servers)
        self._say = say

    async def call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, quietly: bool = False
    ) -> Any:
        """Sends a request and returns its JSON. Raises StepFailed.

        It is shown as curl, with secrets as the variables of demo.env that hold them.
        """
        server = next(self._turns)
        if not quietly:
            self._say(_curl(f"{server.base_url}".rstrip("/"), method, path, body))
        answer = await server.request(method, path, json=body)
        if not answer.is_success:
            raise StepFailed(f"{method} {path.split('?')[0]}", f"{answer.status_code} {answer.text[:500]}")
        return answer.json()


@asynccontextmanager
async def calling(servers: Sequence[str], token: str, say: Say) -> AsyncIterator[Api]:
    """Opens clients of `servers`, by their base URLs, which take turns."""
    async with AsyncExitStack() as exits:
        headers = {"authorization": f"Bearer {token}"}
        clients = [
            await exits.enter_async_context(
                httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False)
            )
            for url in servers
        ]
        yield Api(clients, say)


async def access_token(server: str, client: NewClient, say: Say) -> str:
    """Gets a client's access token. Raises StepFailed."""
    url = f"{server}/oauth2/token"
    say(f'curl -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials {url}')
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            url, data={"grant_type": "client_credentials"}, auth=(client.client_id, client.client_secret)
        )
    if answer.status_code != 200:
        raise StepFailed("POST /oauth2/token", f"{answer.status_code} {answer.text}")
    token: str = answer.json()["access_token"]
    return token


def _curl(base: str, method: str, path: str, body: Mapping[str, Any] | None) -> str:
    sent = f" -H 'Content-Type: application/json' -d '{_body(body)}'" if body else ""
    verb = "" if method == "GET" else f" -X {method}"
    return f"curl{verb} -H \"Authorization: Bearer $JOINDER_TOKEN\" '{base}{path}'{sent}"


def _body(body: Mapping[str, Any]) -> str:
    """Returns the body as JSON inside single quotes of a shell."""
    if "credentials" not in body:
        return json.dumps(body, ensure_ascii=False)
    credentials = body["credentials"]
    hidden = {name: variable(credentials["vendor"], name) for name in credentials if name not in ("vendor", "type")}
    text = json.dumps({**body, "credentials": {**credentials, **hidden}}, ensure_ascii=False)
    for name in hidden.values():
        text = text.replace(f'"{name}"', f'"\'"${name}"\'"')
    return text


def variable(vendor: str, member: str) -> str:
    """Names the variable of demo.env for a member of a vendor app's credentials: ENPHASE_CLIENT_ID."""
    return f"{vendor}_{re.sub('(?<=[a-z])(?=[A-Z])', '_', member)}".upper()
