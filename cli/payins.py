"""`purser payins`: list payments that are tried again, and what needs a person."""

from datetime import datetime
from typing import Annotated

import typer

from operations.console import counted, print_json, say
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
    for each in found:
        typer.echo(
            f"{each.payment_id}  {each.reason}, attempt {each.attempt},"
            f" not before {_second(each.not_before)}, since {_second(each.first_at)}"
        )
    say(f"{counted(len(found), 'payment')} {'is' if len(found) == 1 else 'are'} tried again")


@payins.command("dead-letters")
def dead_letters(as_json: AsJson = False) -> None:
    """List what never works, or what no event can record: it needs a person.

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
                        "currency": each.currency or None,
                        "attempts": each.attempts,
                        "at": each.at.isoformat(),
                    }
                    for each in found
                ]
            }
        )
        return
    for each in found:
        what = " ".join(filter(None, (each.psp, each.reference)))
        about = f"payment {each.payment_id}" if each.payment_id else "no payment"
        typer.echo(f"{_second(each.at)}  {each.reason}: {about}{f', {what}' if what else ''}")
        typer.echo(f"  {each.detail}")
    say(counted(len(found), "dead letter"))


def _second(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
