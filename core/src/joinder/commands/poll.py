from __future__ import annotations

import rich_click as click

from joinder.commands.running import on_hub


@click.command(name="poll")
@click.argument("enrollment_id")
def command(enrollment_id: str) -> None:
    """Read one enrollment from its vendor now. Example:  joinder poll enrl-…"""
    from joinder.services import poll

    done = on_hub(lambda hub: poll.poll(hub, enrollment_id))
    click.echo("read" if done else "another process is reading it")
