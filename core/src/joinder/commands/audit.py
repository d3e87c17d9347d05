from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_json
from joinder.commands.admin import ACTOR, account_ids, account_option, limit_option, owners
from joinder.commands.answering import Columns, print_json, print_list, print_one, with_accounts
from joinder.commands.asking import agreed_by_name, severe
from joinder.commands.running import echo, json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.commands.answers import Audit, AuditProof
    from joinder.runtime.hub import Hub
    from joinder.services.admin.audit_proof import Proof

_COLUMNS: Columns[Audit] = {
    "at": lambda one: one.at,
    "actor": lambda one: one.actor,
    "action": lambda one: one.action,
    "target": lambda one: one.target,
    "result": lambda one: one.result,
    "reason": lambda one: one.reason,
    "account": lambda one: one.account_id,
}


@click.group(name="audit")
def command() -> None:
    """The audit: who changed what, each entry bound to the one before. Example:  joinder audit list --limit 20"""


@command.command(name="list")
@click.option("--target", metavar="ID", help="Only what was done to this.")
@account_option
@limit_option
@json_option
def list_all(target: str | None, account_id: str | None, limit: int, as_json: bool) -> None:
    """List what was changed, newest first. Example:  joinder audit list --target cred-…"""

    async def look(hub: Hub) -> tuple[list[Audit], dict[str, Owner]]:
        from joinder.commands.answers import Audit
        from joinder.services.admin import audits
        from joinder.wire.base import utc

        known = await owners(hub, account_id)
        rows = [
            Audit(
                id=row.id,
                account_id=row.account_id,
                at=utc(row.at) or "",
                actor=row.actor,
                action=row.action,
                target=row.target,
                reason=row.reason,
                result=row.result,
                request_id=row.request_id,
            )
            for row in await audits.latest(hub, account_id=account_id, target=target, limit=limit)
        ]
        return rows, known

    rows, known = on_hub(look)
    print_list(rows, with_accounts(_COLUMNS, known), as_json)


@command.command()
@click.option(
    "--against", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An earlier export."
)
@account_option
@json_option
def verify(file: Path | None, account_id: str | None, as_json: bool) -> None:
    """Prove that nothing was changed, deleted or cut off. Example:  joinder audit verify --against audit.jsonl

    Against an export that was kept elsewhere it also proves that the database did not go back behind it.
    """
    from joinder.cli import EXIT_FAILED
    from joinder.services.admin import audit_proof

    async def look(hub: Hub) -> audit_proof.Proof:
        await account_ids(hub, account_id)
        proof = await audit_proof.verify(hub, account_id)
        if file is not None:
            with file.open("rb") as lines:
                proof.findings += await audit_proof.against(hub, lines)
        return proof

    proof = on_hub(look)
    if as_json:
        print_one(_answer(proof), as_json)
    else:
        for one in proof.findings:
            echo(f"{one.account_id}{f' at {one.seq}' if one.seq is not None else ''}: {one.problem}")
        echo(_told(proof))
    if proof.findings:
        raise SystemExit(EXIT_FAILED)


@command.command()
@account_option
@json_option
def export(account_id: str | None, as_json: bool) -> None:
    """Write the audit as JSON lines, with signed heads. Example:  joinder audit export > audit.jsonl

    Keep it where nobody can change it: `joinder audit verify --against` compares with it.
    """
    import msgspec

    from joinder.services.admin import audit_proof

    async def write(hub: Hub) -> None:
        await account_ids(hub, account_id)
        lines = audit_proof.export(hub, account_id)
        if as_json:
            print_json([line async for line in lines])
            return
        async for line in lines:
            echo(clean_json(msgspec.json.encode(line).decode()))

    on_hub(write)


@command.command()
@click.argument("account_id")
@click.option("--before", required=True, metavar="DAY", help="Entries of days before this one: 2026-01-31.")
@severe
@json_option
def prune(account_id: str, before: str, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Erase old entries; the chain begins behind them. Example:  joinder audit prune acct-… --before 2026-01-01

    ACCOUNT_ID is an account's id, or `system`. Export them first.
    """
    from joinder.commands.answers import Pruned
    from joinder.services.admin import audit_proof

    day = _day(before)
    touches = [f"Entries of {account_id} from before {before} (UTC) are erased. First: joinder audit export > FILE"]
    if agreed_by_name(account_id, touches, confirm=confirm, dry_run=dry_run):
        count = on_hub(lambda hub: audit_proof.prune(hub, ACTOR, account_id, day))
        print_one(Pruned(account_id=account_id, erased=count), as_json)


def _day(text: str) -> int:
    from datetime import UTC, datetime

    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise click.UsageError("--before is a day, such as 2026-01-31.") from None


def _answer(proof: Proof) -> AuditProof:
    from joinder.commands.answers import AuditFinding, AuditProof

    found = [AuditFinding(account_id=one.account_id, seq=one.seq, problem=one.problem) for one in proof.findings]
    return AuditProof(entries=proof.entries, chains=proof.chains, older=proof.older, findings=found)


def _told(proof: Proof) -> str:
    older = f"; {proof.older} are older than the chain, and nobody vouches for them" if proof.older else ""
    verdict = "The audit does not hold" if proof.findings else "The audit holds"
    return f"{verdict}: {proof.entries} entries in {proof.chains} chains{older}."
