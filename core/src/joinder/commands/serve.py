from __future__ import annotations

import rich_click as click


@click.command(name="serve")
@click.option("--no-worker", is_flag=True, help="Only answer; leave due work to `joinder worker` processes.")
def command(no_worker: bool) -> None:
    """Serve the REST API and the join pages, and keep grants alive.
    Example:  JOINDER_PUBLIC_URL=https://join.example.com joinder serve
    """
    import asyncio

    from joinder.observe import logs, tracing
    from joinder.runtime.serve import serve
    from joinder.settings import settings_from_env

    settings = settings_from_env()
    logs.configure(settings.log_level, settings.log_format)
    with tracing.exporting():
        asyncio.run(serve(settings, works=not no_worker))
