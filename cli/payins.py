"""`purser payins`: list payments that are tried again, and what needs a person."""

from typing import Annotated

import typer
from rich.table import Table

from operations.console import print_json, say, wide_console
from payins import listing
from schemas.settings import Bootstrap, Settings

payins = typer.Typer(
    help="Payments in: the retry queue and the dead letters.", no_args_is_help=True
)

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")
]


class KafkaSettings(Settings):
    """Where Kafka answers."""

    kafka_bootstrap: Bootstrap


@payins.command()
def retries(as_json: AsJson = False) -> None:
    """List the payments that a processor could not be asked about, and when they are tried again.

    Exit status: 0 listed, 2 could not list, 64 wrong usage.

    Example: purser payins retries --json
    """
    found = listing.retries(KafkaSettings.load().kafka_bootstrap)
    if as_json:
        print_json(
            {
                "retries": [
                    {
                        "payment_id": str(each.payment_id),
                        "attempt": each.attempt,
                        "not_before": each.not_before.isoformat(),
                        "reason": each.reason,
                        "first_at": each.first_at.isoformat(),
                        "last_at": each.last_at.isoformat(),
                        "dead": each.is_dead,
                    }
                    for each in found
                ]
            }
        )
        return
    table = Table("payment", "attempts", "not before", "reason", "since", box=None)
    for each in found:
        table.add_row(
            str(each.payment_id),
            str(each.attempt),
            each.not_before.isoformat(),
            each.reason,
            each.first_at.isoformat(),
        )
    _show(table, len(found), "payments are tried again")


@payins.command("dead-letters")
def dead_letters(as_json: AsJson = False) -> None:
    """List what never works or cannot be recorded by rule: it needs a person.

    Exit status: 0 listed, 2 could not list, 64 wrong usage.

    Example: purser payins dead-letters --json
    """
    found = listing.dead_letters(KafkaSettings.load().kafka_bootstrap)
    if as_json:
        print_json(
            {
                "dead_letters": [
                    {
                        "payment_id": str(each.payment_id) if each.payment_id else None,
                        "psp": each.psp,
                        "psp_reference": each.reference,
                        "reason": each.reason,
                        "detail": each.detail,
                        "amount_minor": each.amount_minor,
                        "attempts": each.attempts,
                        "at": each.at.isoformat(),
                    }
                    for each in found
                ]
            }
        )
        return
    table = Table("at", "payment", "processor", "reference", "reason", "what to do", box=None)
    for each in found:
        table.add_row(
            each.at.isoformat(),
            str(each.payment_id or ""),
            each.psp,
            each.reference,
            each.reason,
            each.detail,
        )
    _show(table, len(found), "dead letters")


def _show(table: Table, count: int, what: str) -> None:
    if count:
        wide_console().print(table)
    say(f"{count} {what}")
