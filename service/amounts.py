"""Amounts in major units, as the older names of the API have them: decimal text, never a float."""

import re

from schemas.errors import InputError
from schemas.money import currency_exponent
from service.problems import Problem

_MAJOR = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,4}))?")


def minor_of(text: str, currency: str, *, field: str = "amount") -> int:
    """Minor units of an amount such as "25.00"; trailing zeros may be left out or given.

    Raises:
        Problem: not such a text, an unknown currency, or a fraction of a minor unit.
    """
    try:
        exponent = currency_exponent(currency)
    except InputError as error:
        raise Problem("unknown_currency", str(error), field="/currency") from None
    found = _MAJOR.fullmatch(text)
    if found is None:
        raise Problem(
            "field_invalid",
            f'{field}: is not a decimal number such as "25.00"; no sign, exponent or separator',
            field=f"/{field}",
        )
    whole, part = found[1], found[2] or ""
    if part[exponent:].strip("0"):
        raise Problem(
            "field_invalid",
            f"{field}: {currency} has {exponent} digits after the point",
            field=f"/{field}",
        )
    return int(whole + part[:exponent].ljust(exponent, "0"))
