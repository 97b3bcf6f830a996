"""The rules that a row of `payments` must satisfy by itself, named like constraints.

The guards check them and refuse a violation as a CHECK constraint would (SQLSTATE 23514), with the
rule's name and column. They are not constraints because PostgreSQL reads a table's CHECKs again for
each statement, which costs a single INSERT more than everything else. docs/reference/payments.md
lists the rules.
"""

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.currencies import CURRENT
from schemas.details import MAX_DETAILS_BYTES
from schemas.effects import Amount, Suspense, event_types
from schemas.events import EARLIEST, LATEST
from schemas.ids import MAX_LENGTHS
from schemas.lifecycle import Direction
from schemas.money import CURRENCY_ENDS, MAX_AMOUNT_MINOR
from schemas.sql_words import quoted

MAX_DETAILS_BYTES_AS_JSONB = 2 * MAX_DETAILS_BYTES
"""A jsonb of this size can be written as text at all: at most 8,191 numbers, each of 131,072 digits
at most, are below the gigabyte to which PostgreSQL limits a text."""
MAX_SCHEMA_VERSION = 32_767
ROW = "{row}."
"""Placeholder for the row in a condition: `NEW.` in a trigger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """One rule: the invalid column, the SQL condition, and a text of what is expected.

    `first_only`: the rule is about a value that all rows of an order share. It is checked on the
    order's first row, which the others must equal.
    """

    column: str
    condition: str
    expected: str
    first_only: bool = False


def _printable(column: str) -> str:
    max_length = MAX_LENGTHS[column]
    return f"octet_length({ROW}{column}) BETWEEN 1 AND {max_length} AND {ROW}{column} !~ '[^!-~]'"


def _words(column: str) -> str:
    return f"1 to {MAX_LENGTHS[column]} printable ASCII characters without spaces"


def _text(column: str, *, first_only: bool = False, or_null: bool = False) -> RowRule:
    return RowRule(
        column=column,
        condition=_printable(column),
        expected=f"must be {'null or ' * or_null}{_words(column)}",
        first_only=first_only,
    )


def _not_negative(column: str, words: str = "must not be negative") -> RowRule:
    return RowRule(column=column, condition=f"{ROW}{column} >= 0", expected=words)


def _object(table: Mapping[str, object]) -> str:
    """Return a constant JSON object in lines; a look-up in it is one call, however large it is."""
    pairs = [f"{json.dumps(code)}: {json.dumps(value)}" for code, value in sorted(table.items())]
    return "'{" + "\n    ".join(textwrap.wrap(", ".join(pairs), 92)) + "}'::jsonb"


_ENDS = {code: f"{end:%Y-%m-%d} 00:00+00" for code, end in CURRENCY_ENDS.items()}

_POSITIVE = (Amount.WHOLE, Amount.PART, Amount.NAMED)
_AMOUNTS = quoted(event_types(lambda effect: effect.amount in _POSITIVE, Direction.IN))
_COVERED = quoted(event_types(lambda effect: effect.amount is Amount.COVERED, Direction.IN))
_TAKING = quoted(event_types(lambda effect: effect.suspense is Suspense.EXCESS, Direction.IN))
_SHARES = quoted(event_types(lambda effect: effect.pot is not None, Direction.IN))

ROW_RULES: Mapping[str, RowRule] = MappingProxyType(
    {
        # First, so that shares whose sum exceeds bigint are reported as out of range (22003).
        "payments_shares_within_amount": RowRule(
            column="commission_minor",
            condition=f"{ROW}commission_minor + {ROW}logistics_fee_minor <= {ROW}amount_minor",
            expected="and logistics_fee_minor together must be at most amount_minor",
        ),
        "payments_amount_minor": RowRule(
            column="amount_minor",
            condition=f"{ROW}amount_minor <= {MAX_AMOUNT_MINOR}",
            expected=f"must be at most {MAX_AMOUNT_MINOR:,}",
        ),
        "payments_amount_of_event": RowRule(
            column="amount_minor",
            condition=f"""\
CASE WHEN {ROW}direction = 'out' OR {ROW}event_type IN (
        {_AMOUNTS})
    THEN {ROW}amount_minor > 0
    WHEN {ROW}event_type IN ({_TAKING})
    THEN {ROW}amount_minor >= 0 AND {ROW}amount_minor > {ROW}suspense_minor
    WHEN {ROW}event_type IN ({_COVERED})
    THEN {ROW}amount_minor >= 0 ELSE {ROW}amount_minor = 0 END""",
            expected="must be above zero for events that move or name money, zero for all others;"
            " of a dispute, zero only if all of it is in suspense",
        ),
        "payments_authorized_minor": RowRule(
            column="authorized_minor",
            condition=f"{ROW}authorized_minor <= {ROW}order_amount_minor",
            expected="must be at most order_amount_minor",
        ),
        "payments_buyer_id": RowRule(
            column="buyer_id",
            condition=f"""\
CASE WHEN {ROW}direction = 'out' THEN {ROW}buyer_id IS NULL
    ELSE {ROW}buyer_id IS NOT NULL AND {_printable("buyer_id")} END""",
            expected=f"must be {_words('buyer_id')}, and null for payouts only",
            first_only=True,
        ),
        "payments_captures_within_authorization": RowRule(
            column="captured_minor",
            condition=f"{ROW}authorized_minor = 0 OR {ROW}captured_minor <= {ROW}authorized_minor",
            expected="must be at most authorized_minor, unless that is zero",
        ),
        "payments_captures_within_order": RowRule(
            column="captured_minor",
            condition=f"{ROW}captured_minor <= {ROW}order_amount_minor",
            expected="must be at most order_amount_minor",
        ),
        "payments_commission_minor": _not_negative("commission_minor"),
        "payments_currency": RowRule(
            column="currency",
            # Of an order's first row: later rows may follow the withdrawal.
            condition=f"""\
{_object(CURRENT)} ? {ROW}currency
    OR {ROW}occurred_at < coalesce({_object(_ENDS)} ->> {ROW}currency, '-infinity')::timestamptz""",
            expected="must be an ISO 4217 currency, not withdrawn before occurred_at",
            first_only=True,
        ),
        # Measured as the text that is sent to Kafka. As stored, a number such as 1e100000 is a few
        # bytes, and PostgreSQL may have compressed the value: || makes it plain again.
        "payments_details": RowRule(
            column="details",
            condition=f"""\
CASE WHEN jsonb_typeof({ROW}details) <> 'object' THEN false
    WHEN pg_column_size({ROW}details || '{{}}') > {MAX_DETAILS_BYTES_AS_JSONB} THEN false
    ELSE octet_length({ROW}details::text) <= {MAX_DETAILS_BYTES} END""",
            expected=f"must be a JSON object of at most {MAX_DETAILS_BYTES:,} bytes as text"
            f" and {MAX_DETAILS_BYTES_AS_JSONB:,} bytes as jsonb",
        ),
        "payments_idempotency_key": _text("idempotency_key"),
        "payments_logistics_fee_minor": _not_negative("logistics_fee_minor"),
        "payments_method": _text("method", first_only=True),
        # The range of the views' dates; also refuses 'infinity'.
        "payments_occurred_at": RowRule(
            column="occurred_at",
            condition=f"""\
{ROW}occurred_at >= '{EARLIEST:%Y-%m-%d %H:%M:%S}+00'::timestamptz
    AND {ROW}occurred_at < '{LATEST:%Y-%m-%d %H:%M:%S}+00'::timestamptz""",
            expected=f"must be from {EARLIEST.year} to {LATEST.year - 1}",
        ),
        "payments_order_id": RowRule(
            column="order_id",
            condition=f"""\
CASE WHEN {ROW}direction = 'out' THEN {ROW}order_id = {ROW}payment_id::text
    ELSE {_printable("order_id")} END""",
            expected=f"must be {_words('order_id')}; for a payout its payment_id as text",
            first_only=True,
        ),
        "payments_pending_minor": _not_negative("pending_minor", "must not become negative"),
        "payments_psp": _text("psp", first_only=True),
        "payments_psp_reference": _text("psp_reference", or_null=True),
        "payments_refunds_within_captures": RowRule(
            column="refunded_minor",
            condition=f"{ROW}refunded_minor + {ROW}reserved_minor <= {ROW}captured_minor",
            expected="and reserved_minor together must be at most captured_minor",
        ),
        "payments_reserved_minor": _not_negative("reserved_minor", "must not become negative"),
        "payments_schema_version": RowRule(
            column="schema_version",
            condition=f"{ROW}schema_version BETWEEN 1 AND {MAX_SCHEMA_VERSION}",
            expected=f"must be 1 to {MAX_SCHEMA_VERSION}",
        ),
        "payments_seller_id": _text("seller_id", first_only=True),
        "payments_shares_of_event": RowRule(
            column="commission_minor",
            condition=f"""\
{ROW}commission_minor = 0 AND {ROW}logistics_fee_minor = 0
    OR {ROW}direction = 'in' AND {ROW}event_type IN ({_SHARES})""",
            expected="and logistics_fee_minor must be zero for an event without shares",
        ),
    }
)
"""Name -> rule. As in PostgreSQL, a row that breaks several is reported with the first by name."""


PLACE_RULES = ("payments_method", "payments_psp")
"""Rules about what an attempt or a stray may change, which makes its row a first one in a way."""


def all_of(rules: Iterable[RowRule], row: str, indent: str) -> str:
    """Return all of `rules` as one condition, to be tested with IS FALSE."""
    terms = (f"({rule.condition.replace(ROW, row)})" for rule in rules)
    return indent + f"\n{indent}AND ".join(term.replace("\n", f"\n{indent}") for term in terms)
