"""The application of a test's hub on a port of 127.0.0.1, for programs that are not ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from litestar import Litestar


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[str]:
    """Serves the application; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def output_of(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a program beside the server, and answers what it printed; its own complaint where it fails."""
    process = await asyncio.create_subprocess_exec(*map(str, command), env=env, cwd=cwd, stdout=-1, stderr=-1)
    printed, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()[-3000:] + printed.decode()[-3000:]
    return printed.decode()
