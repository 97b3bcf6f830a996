"""`purser token`: a token for the local stack's API."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from schemas.errors import ConfigurationError, InputError, UsageError
from schemas.ids import check_id
from stack.native import Stack
from stack.settings import StackSettings

MINUTES_MOST = 60 * 24 * 366


class TokenRole(StrEnum):
    """Roles that a token can have."""

    BUYER = "buyer"
    SELLER = "seller"
    SERVICE = "service"
    FINANCE = "finance"
    ADMIN = "admin"


def token(
    role: Annotated[
        list[TokenRole], typer.Option("--role", help="What the token may do; can be repeated.")
    ],
    subject: Annotated[
        str,
        typer.Option(
            "--subject",
            help="Whoever it speaks for: a buyer_id, a seller_id, or the name of a service.",
        ),
    ] = "",
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, max=MINUTES_MOST, help="How long it is valid.")
    ] = 60,
) -> None:
    """Print a token for the local stack's API, signed with a key that only this stack trusts.

    Example: TOKEN=$(purser token --role buyer --subject b-3)
    """
    subject = subject or f"local-{role[0]}"
    try:
        check_id("--subject", subject)
    except InputError as error:
        raise UsageError(error.field, error.problem) from None
    stack = Stack(StackSettings.load())
    endpoints = stack.endpoints
    url = "PURSER_JWKS_URL"
    if endpoints.outside(os.environ)[url] != endpoints.outside({})[url]:
        raise ConfigurationError(
            "PURSER_JWKS_URL: names another issuer, so only that one can make a token; unset it to"
            " use the local stack's"
        )
    typer.echo(stack.token(" ".join(role), subject, minutes=minutes, given=os.environ))
