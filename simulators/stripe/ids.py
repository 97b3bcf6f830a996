"""Identifiers as Stripe writes them: a prefix, and letters and digits that nobody can interpret.

They are a salt of this simulator's books and a count, so that ids of two simulators never meet and
each table's index grows at its end.
"""

import secrets

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""In the order of ASCII, so that ids sort as they were given."""
SALT_LENGTH = 14
COUNT_LENGTH = 9
_LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
REQUEST_LENGTH = 14
SECRET_LENGTH = 25


def new_salt() -> str:
    """The salt of new books."""
    return random_text(SALT_LENGTH)


def random_text(length: int) -> str:
    """Letters and digits that nobody can guess."""
    return secrets.token_bytes(length).translate(_LETTERS).decode("ascii")


def base62(number: int) -> str:
    """A count in letters and digits of a fixed length."""
    digits = []
    for _ in range(COUNT_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
