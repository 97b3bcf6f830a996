"""Questions about orders and payouts: their latest states, their sums, their sequences."""

from typing import get_type_hints

from operations.verify.event_question import EventQuestion
from operations.verify.wide import wide
from schemas.effects import Authorization, event_types
from schemas.lifecycle import Direction
from schemas.sql_words import quoted
from schemas.views import BUYER_ORDERS, PAYOUTS, Table

# Column of the view -> the event's column, where the names differ.
_ORDER_COLUMNS = {"amount_minor": "order_amount_minor", "updated_at": "occurred_at"}
_PAYOUT_COLUMNS = {
    "payout_id": "payment_id",
    "provider": "psp",
    "provider_reference": "psp_reference",
    "updated_at": "occurred_at",
}


def _texts(table: Table, renamed: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Return the view's columns, and SQL for the text of each in the events and in the view."""
    times = {name for name, hint in get_type_hints(table.row_type).items() if "date" in str(hint)}
    names = [name for name in table.columns if name != "seq"]

    def text(column: str, name: str) -> str:
        if name in times:
            return f"toString(toDateTime64({column}, 6, 'UTC'))"
        return f"toString({column})"

    return (
        names,
        [text(renamed.get(name, name), name) for name in names],
        [text(name, name) for name in names],
    )


def _latest(
    table: Table, renamed: dict[str, str], direction: str, key: tuple[str, ...]
) -> tuple[str, str]:
    """Return SQL of summary and details: the last events of a direction against the view."""
    names, of_events, of_view = _texts(table, renamed)
    view_key = [
        next((view for view, event in renamed.items() if event == name), name) for name in key
    ]
    columns = ", ".join(f"toString({name}) AS k_{name}" for name in key)
    view_columns = ", ".join(f"toString({name})" for name in view_key)
    keys = ", ".join(f"k_{name} AS {name}" for name in key)
    by = ", ".join(f"k_{name}" for name in key)

    def both(event_value: str, view_value: str) -> str:
        return f"""
        SELECT {columns}, toUInt32(seq) AS version, {event_value} AS content, 0 AS is_view
        FROM {{table}} WHERE direction = '{direction}' AND {{events}}
        UNION ALL
        SELECT {view_columns}, toUInt32(seq), {view_value}, 1
        FROM {table.raw} FINAL WHERE {{others}}
        """

    sql = f"""
    SELECT {keys},
        maxIf(version, is_view = 0) AS expected, maxIf(version, is_view = 1) AS found,
        countIf(is_view = 1) AS view_rows,
        argMaxIf(content, version, is_view = 0) != argMaxIf(content, version, is_view = 1)
            AS content_differs,
        expected != found OR view_rows != 1 OR content_differs AS differs,
        view_rows > 1 OR (view_rows = 1 AND expected = found) AS definite
    FROM ({both(f"cityHash64({', '.join(of_events)})", f"cityHash64({', '.join(of_view)})")})
    GROUP BY {by}
    """
    pairs = ", ".join(
        f"argMaxIf(content[{at}], version, is_view = 0) AS e_{name},"
        f" argMaxIf(content[{at}], version, is_view = 1) AS f_{name}"
        for at, name in enumerate(names, start=1)
    )
    details = f"""
    SELECT {keys},
        maxIf(version, is_view = 0) AS e_seq, maxIf(version, is_view = 1) AS f_seq,
        toUInt64(countIf(is_view = 0) > 0) AS e_rows, countIf(is_view = 1) AS f_rows, {pairs}
    FROM ({both(f"[{', '.join(of_events)}]", f"[{', '.join(of_view)}]")})
    GROUP BY {by}
    """
    return sql, details


_ORDERS_SQL, _ORDERS_DETAILS = _latest(
    BUYER_ORDERS, _ORDER_COLUMNS, "in", ("payment_id", "order_id")
)
_PAYOUTS_SQL, _PAYOUTS_DETAILS = _latest(PAYOUTS, _PAYOUT_COLUMNS, "out", ("payment_id",))

ORDERS = EventQuestion(
    name="buyer_orders",
    proves="every order has exactly the state of its last event",
    problem="",
    key=("payment_id", "order_id"),
    sql=_ORDERS_SQL,
    details=_ORDERS_DETAILS,
    claims_seq=True,
)

PAYOUT_STATES = EventQuestion(
    name="payouts",
    proves="every payout has exactly the state of its last event",
    problem="",
    key=("payment_id",),
    sql=_PAYOUTS_SQL,
    details=_PAYOUTS_DETAILS,
    other_id="payout_id",
    claims_seq=True,
)

_CAPTURES = quoted(event_types(lambda effect: effect.captured == 1, Direction.IN))
_HOLDS = quoted(event_types(lambda e: e.authorization is Authorization.SETS, Direction.IN))
_ENDS_HOLD = quoted(event_types(lambda e: e.authorization is Authorization.ENDS, Direction.IN))
_REVERSALS = quoted(event_types(lambda effect: effect.refunded == 1, Direction.IN))
_RESTORED = quoted(event_types(lambda effect: effect.refunded == -1, Direction.IN))

_ORDER_SUMS = f"""
    SELECT toString(id) AS payment_id, order_id, any(code) AS currency,
        sumIf(amount, type IN ({_CAPTURES})) AS captured,
        sumIf(amount, type IN ({_REVERSALS})) - sumIf(amount, type IN ({_RESTORED})) AS refunded,
        argMaxIf(if(type IN ({_HOLDS}), amount, {wide("0")}), seq,
            type IN ({_HOLDS}, {_ENDS_HOLD})) AS authorized,
        argMax(authorized_minor, seq) AS authorized_after,
        argMax(captured_minor, seq) AS captured_after,
        argMax(refunded_minor, seq) AS refunded_after
    FROM (
        SELECT payment_id AS id, order_id, seq, toString(event_type) AS type,
            toString(currency) AS code, {wide("amount_minor")} AS amount,
            {wide("authorized_minor")} AS authorized_minor,
            {wide("captured_minor")} AS captured_minor, {wide("refunded_minor")} AS refunded_minor
        FROM {{table}} WHERE direction = 'in' AND {{events}}
    )
    GROUP BY id, order_id
"""

REFUNDS = EventQuestion(
    name="refunds_within_captures",
    proves="no order refunds more than was captured or captures more than was authorized, and"
    " running sums equal the sums of events",
    problem="refunds",
    key=("payment_id", "order_id"),
    names_event=False,
    sql=f"""
    SELECT payment_id, order_id, 1 AS expected, 0 AS found, 0 AS definite,
        refunded > captured OR captured != captured_after OR refunded != refunded_after
            OR authorized != authorized_after OR (authorized > 0 AND captured > authorized)
            AS differs
    FROM ({_ORDER_SUMS})
    """,
    details=f"""
    SELECT payment_id, order_id,
        authorized AS e_authorized_minor,
        if(authorized > 0 AND captured > authorized, captured, authorized_after)
            AS f_authorized_minor,
        captured AS e_captured_minor, captured_after AS f_captured_minor,
        least(refunded, captured) AS e_refunded_minor,
        if(refunded > captured, refunded, refunded_after) AS f_refunded_minor
    FROM ({_ORDER_SUMS})
    """,
)


SEQUENCES = EventQuestion(
    name="sequences_clickhouse",
    proves="in ClickHouse every payment's seq is 1, 2, 3, … without a gap",
    problem="gap",
    key=("payment_id",),
    names_event=False,
    sql="""
    SELECT toString(id) AS payment_id, toInt64(max(seq)) AS expected, toInt64(count()) AS found,
        expected != found OR min(seq) != 1 AS differs, 0 AS definite
    FROM (SELECT payment_id AS id, seq FROM payment_events_raw FINAL WHERE {events})
    GROUP BY id
    """,
    details="""
    SELECT toString(id) AS payment_id, toInt64(max(seq)) AS e_events, toInt64(count()) AS f_events,
        toString([]) AS e_missing_seq,
        toString(arraySlice(arrayFilter(
            number -> NOT has(groupArray(toUInt32(seq)), number),
            range(toUInt32(1), toUInt32(max(seq) + 1))), 1, 20)) AS f_missing_seq
    FROM (SELECT payment_id AS id, seq FROM payment_events_raw FINAL WHERE {events})
    GROUP BY id
    """,
)
