from __future__ import annotations

from pathlib import Path

import rich_click as click

from joinder.commands.answering import say
from joinder.commands.running import echo, on_hub, write


def print_page(page: str, file: Path | None) -> None:
    """Prints one HTML file, or writes it: whole, in one step, for whoever reads it meanwhile."""
    if file is None:
        echo(page)
        return
    write(file, page)
    say(f"Written to {file}")


@click.command(name="report")
@click.argument("enrollment_id")
@click.option("--html", "as_html", is_flag=True, help="One HTML file, which is what is made without a word too.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
def command(enrollment_id: str, as_html: bool, output: Path | None) -> None:
    """Make a page of one enrollment for others. Example:  joinder report enrl-… --html > home.html

    What is read, the life of its token, today, yesterday and 30 days, what they lack, and what happened. The file runs
    no script and fetches nothing. No vendor is asked, and no link of an owner is in it.
    """
    from joinder.reports.enrollment import report

    print_page(on_hub(lambda hub: report(hub, enrollment_id)), output)
