from __future__ import annotations

import rich_click as click


@click.command(name="worker")
def command() -> None:
    """Work on what is due, beside any number of servers and workers. Example:  joinder worker

    Ends at SIGTERM: nothing new begins, token exchanges in flight end, the store closes last.
    """
    import asyncio

    from joinder.observe import logs, tracing
    from joinder.runtime.serve import work
    from joinder.settings import settings_from_env

    settings = settings_from_env()
    logs.configure(settings.log_level, settings.log_format)
    with tracing.exporting():
        asyncio.run(work(settings))
