"""What a row of `payments` must satisfy by itself, as SQL conditions named like constraints.

They were CHECK constraints once (0001_payments.sql, 0004_guards.sql) and are refused under the
same names (`refusals.CONSTRAINTS`), but the guards check them: PostgreSQL reads a table's CHECKs
anew for each statement, which costs a single INSERT more than all the rest of it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.effects import AMOUNT_EVENTS, SHARE_EVENTS
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.lifecycle import EventType
from schemas.money import MAX_AMOUNT_MINOR

MAX_NAME_LENGTH = 64
MAX_DETAILS_BYTES = 65_536
MAX_SCHEMA_VERSION = 32_767
ROW = "{row}."
"""Stands in a condition for the row: `NEW.` in a trigger."""


def _id(column: str, max_length: int = MAX_ID_LENGTH) -> str:
    """Printable ASCII without spaces."""
    return f"octet_length({ROW}{column}) BETWEEN 1 AND {max_length} AND {ROW}{column} !~ '[^!-~]'"


def _listed(events: frozenset[EventType]) -> str:
    return ", ".join(f"'{event}'" for event in EventType if event in events)


FIRST_ROW_RULES: Mapping[str, str] = MappingProxyType(
    {
        "payments_buyer_id": f"""\
CASE WHEN {ROW}direction = 'out' THEN {ROW}buyer_id IS NULL
    ELSE {ROW}buyer_id IS NOT NULL AND {_id("buyer_id")} END""",
        "payments_currency": f"{ROW}currency ~ '^[A-Z]{{3}}$'",
        "payments_method": _id("method", MAX_NAME_LENGTH),
        "payments_order_id": f"""\
CASE WHEN {ROW}direction = 'out' THEN {ROW}order_id = {ROW}payment_id::text
    ELSE {_id("order_id")} END""",
        "payments_psp": _id("psp", MAX_NAME_LENGTH),
        "payments_seller_id": _id("seller_id"),
    }
)
"""Of what all rows of an order have in common: checked on its first one, which the others equal."""

EVERY_ROW_RULES: Mapping[str, str] = MappingProxyType(
    {
        # First, so that shares whose sum is no bigint are told as out of range (22003).
        "payments_shares_within_amount": (
            f"{ROW}commission_minor + {ROW}logistics_fee_minor <= {ROW}amount_minor"
        ),
        "payments_amount_minor": f"{ROW}amount_minor <= {MAX_AMOUNT_MINOR}",
        "payments_amount_of_event": f"""\
CASE WHEN {ROW}direction = 'out' OR {ROW}event_type IN (
        {_listed(AMOUNT_EVENTS)})
    THEN {ROW}amount_minor > 0 ELSE {ROW}amount_minor = 0 END""",
        "payments_captures_within_order": f"{ROW}captured_minor <= {ROW}order_amount_minor",
        "payments_commission_minor": f"{ROW}commission_minor >= 0",
        "payments_details": f"""\
jsonb_typeof({ROW}details) = 'object'
    AND pg_column_size({ROW}details) <= {MAX_DETAILS_BYTES}""",
        "payments_idempotency_key": _id("idempotency_key", MAX_IDEMPOTENCY_KEY_LENGTH),
        "payments_logistics_fee_minor": f"{ROW}logistics_fee_minor >= 0",
        # What the views' dates can hold; also refuses 'infinity'.
        "payments_occurred_at": f"""\
{ROW}occurred_at >= '1970-01-01 00:00:00+00'::timestamptz
    AND {ROW}occurred_at < '2100-01-01 00:00:00+00'::timestamptz""",
        "payments_pending_minor": f"{ROW}pending_minor >= 0",
        "payments_psp_reference": _id("psp_reference", MAX_IDEMPOTENCY_KEY_LENGTH),
        "payments_refunds_within_captures": (
            f"{ROW}refunded_minor + {ROW}reserved_minor <= {ROW}captured_minor"
        ),
        "payments_reserved_minor": f"{ROW}reserved_minor >= 0",
        "payments_schema_version": f"{ROW}schema_version BETWEEN 1 AND {MAX_SCHEMA_VERSION}",
        "payments_shares_of_event": f"""\
{ROW}commission_minor = 0 AND {ROW}logistics_fee_minor = 0
    OR {ROW}direction = 'in' AND {ROW}event_type IN ({_listed(SHARE_EVENTS)})""",
    }
)

ROW_RULES: Mapping[str, str] = MappingProxyType(
    dict(sorted({**FIRST_ROW_RULES, **EVERY_ROW_RULES}.items()))
)
"""All of them in the order in which they are told, that of the names."""


def condition(rules: Mapping[str, str], row: str, indent: str) -> str:
    """All of `rules` as one condition, to be compared by IS FALSE; a comment names each."""
    terms = [f"({rule.replace(ROW, row)})".replace("\n", f"\n{indent}") for rule in rules.values()]
    return indent + f"\n{indent}AND ".join(terms)
