from __future__ import annotations

import rich_click as click


@click.command(name="openapi")
@click.option("--output", type=click.Path(dir_okay=False, writable=True), help="A file instead of the terminal.")
def command(output: str | None) -> None:
    """Print the REST API's OpenAPI document, without a server. Example:  joinder openapi --output openapi.json

    It is the same for every installation of this version: what a running server answers at /openapi.json.
    """
    import json
    from pathlib import Path

    from joinder.api.app import openapi_document
    from joinder.commands.answering import say
    from joinder.commands.running import echo, write

    text = json.dumps(openapi_document(), indent=1, ensure_ascii=False)
    if output is None:
        echo(text)
    else:
        write(Path(output), f"{text}\n")
        say(f"{output} is written.")
