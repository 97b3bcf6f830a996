"""Identifiers as Stripe writes them: a prefix, and letters and digits that nobody can interpret.

They are a salt of these books and a number: ids of two simulators never meet, and an object is
found by the number in its id, without an index.
"""

import secrets

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SALT_LENGTH = 14
NUMBER_LENGTH = 10
_LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
REQUEST_LENGTH = 14
SECRET_LENGTH = 25


def new_salt() -> str:
    """The salt of new books."""
    return random_text(SALT_LENGTH)


def random_text(length: int) -> str:
    """Letters and digits that nobody can guess."""
    return secrets.token_bytes(length).translate(_LETTERS).decode("ascii")


def make(prefix: str, salt: str, number: int) -> str:
    """The id of the object with this number."""
    return f"{prefix}{salt}{number:0{NUMBER_LENGTH}d}"


def number_in(identity: str, salt: str) -> int | None:
    """The number in an id of these books; None if it is another id."""
    head, digits = identity[:-NUMBER_LENGTH], identity[-NUMBER_LENGTH:]
    if head.endswith(salt) and digits.isascii() and digits.isdigit():
        return int(digits)
    return None
