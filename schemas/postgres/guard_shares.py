"""The guards' checks of commission, logistics fee and seller's share, from the table of effects.

`schemas.postgres.generate` writes them into the function of each partition. Pure.
"""

from schemas.effects import Pot, event_types
from schemas.lifecycle import Direction
from schemas.postgres.guard_codes import GuardCode
from schemas.sql_words import quoted

FEW_ROWS = 32
"""The index `payments_long` holds rows above this seq; most payments have none."""

SHARE = "(NEW.amount_minor - NEW.commission_minor - NEW.logistics_fee_minor)"

_ORDER_ROWS = """public.@PARTITION@
                    WHERE payment_id = NEW.payment_id AND order_id = NEW.order_id
                        AND seq < NEW.seq"""
_LONG_ORDER_ROWS = f"""(
                        SELECT event_type, commission_minor, logistics_fee_minor
                            FROM {_ORDER_ROWS} AND seq <= {FEW_ROWS}
                        UNION ALL
                        SELECT event_type, commission_minor, logistics_fee_minor
                            FROM {_ORDER_ROWS} AND seq > {FEW_ROWS}
                    ) earlier"""
"""The order's earlier rows; long payments read them through `payments_long`."""


def shares_checks() -> str:
    """Return checks that an event's three shares are within what is left of the order's."""
    plan = _share_check(
        pot=Pot.TAKEN,
        plus=(Pot.PLANNED,),
        minus=(Pot.TAKEN,),
        condition="NEW.captured_minor <= NEW.order_amount_minor",
        left="NEW.order_amount_minor - before.captured_minor",
        code=GuardCode.SHARE_ABOVE_PLAN,
    )
    taken = _share_check(
        pot=Pot.GIVEN_BACK,
        plus=(Pot.TAKEN, Pot.RESTORED),
        minus=(Pot.GIVEN_BACK,),
        condition="NEW.refunded_minor <= NEW.captured_minor",
        left="NEW.captured_minor - before.refunded_minor",
        code=GuardCode.SHARE_ABOVE_TAKEN,
    )
    return f"{plan}\n{taken}"


def _share_check(
    *,
    pot: Pot,
    plus: tuple[Pot, ...],
    minus: tuple[Pot, ...],
    condition: str,
    left: str,
    code: GuardCode,
) -> str:
    """Return the check of events that move shares into `pot`.

    What is left for them are the shares of the events in `plus` minus those of the events in
    `minus` so far.
    """
    checked = quoted(event_types(lambda effect: effect.pot is pot, Direction.IN))
    added = quoted(event_types(lambda effect: effect.pot in plus, Direction.IN))
    taken = quoted(event_types(lambda effect: effect.pot in minus, Direction.IN))

    def left_of(column: str) -> str:
        return (
            f"coalesce(sum(CASE WHEN event_type IN ({added}) THEN {column}\n"
            f"                    WHEN event_type IN ({taken}) THEN -{column} END), 0)"
        )

    def read(rows: str) -> str:
        return f"""\
                SELECT {left_of("commission_minor")},
                        {left_of("logistics_fee_minor")}
                    INTO commission_left, logistics_left
                    FROM {rows};"""

    return f"""\
        IF NEW.event_type IN ({checked}) AND {condition} THEN
            IF NEW.seq <= {FEW_ROWS} + 1 THEN
{read(_ORDER_ROWS)}
            ELSE
{read(_LONG_ORDER_ROWS)}
            END IF;
            IF NEW.commission_minor > commission_left OR NEW.logistics_fee_minor > logistics_left
                    OR {SHARE}
                        > {left} - commission_left - logistics_left THEN
                PERFORM public.payments_refuse_share('{code}', NEW, {SHARE},
                    {left}, commission_left, logistics_left);
            END IF;
        END IF;"""
