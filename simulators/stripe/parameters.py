"""The types of Stripe's parameters, and the check of a call's parameters against them. Pure.

An endpoint's parameters are a table from name to type. A name that is not in it is refused, as
Stripe does. A value that is given as empty text unsets what can be unset.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulators.stripe import forms
from simulators.stripe.errors import StripeError, missing, unknown

METADATA_KEYS_MOST = 50
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500
TEXT_LENGTH = 5000
INTEGER_MOST = 2**63 - 1

Check = Callable[[str, Any], Any]
"""Takes the parameter's name and its raw value, returns the value; raises StripeError."""


def text(name: str, value: Any, *, length: int = TEXT_LENGTH) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str):
        raise StripeError(f"Invalid string: {_shown(value)}", param=name)
    if not value:
        raise StripeError(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to"
            f" unset a parameter; however '{name}' cannot be unset. You should remove '{name}' from"
            " your request or supply a non-empty value.",
            code="parameter_invalid_empty",
            param=name,
        )
    if len(value) > length:
        raise StripeError(
            f"Invalid string: {value[:10]}...; must be at most {length} characters",
            code="parameter_invalid_string",
            param=name,
        )
    return value


def optional_text(name: str, value: Any) -> str | None:
    """Text; the empty one unsets the value."""
    return None if value == "" else text(name, value)


def integer(name: str, value: Any) -> int:
    """A whole number."""
    digits = value[1:] if isinstance(value, str) and value[:1] in ("-", "+") else value
    if not isinstance(digits, str) or not (digits.isascii() and digits.isdigit()):
        raise StripeError(
            f"Invalid integer: {_shown(value)}", code="parameter_invalid_integer", param=name
        )
    number = int(value) if len(value) < 25 else INTEGER_MOST + 1
    if abs(number) > INTEGER_MOST:
        raise StripeError(
            f"Invalid integer: {_shown(value)}", code="parameter_invalid_integer", param=name
        )
    return number


def _from(least: int) -> Check:
    """A whole number from `least` on."""

    def check(name: str, value: Any) -> int:
        number = integer(name, value)
        if number < least:
            raise StripeError(
                f"This value must be greater than or equal to {least}.",
                code="parameter_invalid_integer",
                param=name,
            )
        return number

    return check


positive = _from(1)
not_negative = _from(0)


def boolean(name: str, value: Any) -> bool:
    """`true` or `false`."""
    if value not in ("true", "false"):
        raise StripeError(f"Invalid boolean: {_shown(value)}", param=name)
    return bool(value == "true")


def choice(*allowed: str) -> Check:
    """One of a few words."""

    def check(name: str, value: Any) -> str:
        if value not in allowed:
            listed = ", ".join(allowed[:-1]) + f", or {allowed[-1]}" if allowed[1:] else allowed[0]
            raise StripeError(f"Invalid {name}: must be one of {listed}", param=name)
        return str(value)

    return check


def hashed(name: str, value: Any) -> dict[str, Any]:
    """A hash of anything."""
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise StripeError(f"Invalid object: {_shown(value)}", param=name)
    return value


def hashes_by_name(name: str, value: Any) -> dict[str, dict[str, Any]]:
    """A hash of hashes of anything, such as options of each type."""
    return {each: hashed(f"{name}[{each}]", part) for each, part in hashed(name, value).items()}


def texts(name: str, value: Any) -> list[str]:
    """A list of texts."""
    found = [] if value == "" else forms.items(value)
    if found is None or not all(isinstance(each, str) for each in found):
        raise StripeError("Invalid array", param=name)
    return found


def hashes(name: str, value: Any) -> list[dict[str, Any]]:
    """A list of hashes."""
    found = forms.items(value)
    if found is None or not all(isinstance(each, dict) for each in found):
        raise StripeError("Invalid array", param=name)
    return found


def metadata(name: str, value: Any) -> dict[str, str]:
    """Up to 50 pairs; an empty value unsets the key, and empty metadata unset all."""
    if value == "":
        return {"": ""}
    pairs = hashed(name, value)
    for key, each in pairs.items():
        param = f"{name}[{key}]"
        if not isinstance(each, str):
            raise StripeError("Metadata values must be strings", param=param)
        if len(key) > METADATA_KEY_LENGTH:
            raise StripeError(
                f"Metadata keys must have at most {METADATA_KEY_LENGTH} characters", param=param
            )
        if len(each) > METADATA_VALUE_LENGTH:
            raise StripeError(
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters, but you passed"
                f" in a value that is {len(each)} characters.",
                param=param,
            )
    return pairs


def merged(old: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata after an update; raises StripeError for too many."""
    if given is None:
        return dict(old)
    if "" in given:
        return {}
    new = {key: value for key, value in {**old, **given}.items() if value != ""}
    if len(new) > METADATA_KEYS_MOST:
        raise StripeError(
            f"Metadata can have up to {METADATA_KEYS_MOST} keys, but you passed in {len(new)}.",
            param="metadata",
        )
    return new


def span(name: str, value: Any) -> dict[str, int]:
    """A time, or a hash of gt, gte, lt, lte."""
    if not isinstance(value, dict):
        moment = integer(name, value)
        return {"gte": moment, "lte": moment}
    if wrong := [bound for bound in value if bound not in ("gt", "gte", "lt", "lte")]:
        raise unknown([f"{name}[{each}]" for each in wrong])
    return {bound: integer(f"{name}[{bound}]", each) for bound, each in value.items()}


def limit(name: str, value: Any) -> int:
    """The size of a page."""
    number = integer(name, value)
    if not 1 <= number <= 100:
        raise StripeError(
            "This value must be between 1 and 100.",
            code="parameter_invalid_integer",
            param=name,
        )
    return number


def shape(inner: Mapping[str, Check], *, required: Sequence[str] = ()) -> Check:
    """A hash with parameters of its own."""

    def check(name: str, value: Any) -> dict[str, Any]:
        return checked(hashed(name, value), inner, required=required, within=name)

    return check


def checked(
    params: Mapping[str, Any],
    table: Mapping[str, Check],
    *,
    required: Sequence[str] = (),
    within: str = "",
) -> dict[str, Any]:
    """The values of the parameters that are given.

    Raises:
        StripeError: a parameter that is unknown, missing or wrong; names it.
    """

    def full(name: str) -> str:
        return f"{within}[{name}]" if within else name

    if wrong := [name for name in params if name not in table and name != "expand"]:
        raise unknown([full(name) for name in wrong])
    for name in required:
        if name not in params:
            raise missing(full(name))
    return {name: table[name](full(name), value) for name, value in params.items() if name in table}


def anything(_name: str, value: Any) -> Any:
    """A parameter that Stripe has and the simulator does not look at."""
    return value


def _shown(value: Any) -> str:
    return value[:50] if isinstance(value, str) else "a hash"
