"""Where the command line begins: says which extra brings what a command lacks, in place of a traceback."""

from __future__ import annotations

import sys

EXIT_CONFIG = 78
# Top-level module → the extra of `joinder` that brings it, the smallest that a command would want.
EXTRA_OF = {
    "aiosqlite": "store",
    "alembic": "store",
    "asyncpg": "postgres",
    "backports": "server",
    "cryptography": "store",
    "granian": "server",
    "jinja2": "server",
    "litestar": "server",
    "opentelemetry": "otel",
    "pgqueuer": "server",
    "prometheus_client": "store",
    "purgatory": "store",
    "pytest": "testing",
    "pytest_asyncio": "testing",
    "rich_click": "server",
    "segno": "server",
    "sqlalchemy": "store",
    "sqlmodel": "store",
    "structlog": "server",
    "tzfpy": "store",
    "uvicorn": "simulator",
    "vcr": "testing",
}


def main() -> None:
    """Runs the command line. A missing extra is one sentence and exit code 78."""
    try:
        from joinder import cli

        cli.main()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_OF:
            raise
        told = f"This needs {module}, which is not installed:  pip install 'joinder[{EXTRA_OF[module]}]'\n"
        sys.stderr.write(told)  # click may be what is missing
        sys.exit(EXIT_CONFIG)
