"""`purser books` against the simulator and real PostgreSQL: they agree; then they do not."""

import asyncio
from uuid import uuid4

from tests.payments_stack import PaymentsStack, a_request, change, create


async def _bought(stack: PaymentsStack) -> list[tuple[str, str]]:
    """Payments of many kinds in many currencies; ids and references of those captured whole."""
    paid = []
    name = uuid4().hex
    async with stack.client() as client:
        for number, (currency, amount) in enumerate(
            [("EUR", 2500), ("JPY", 5000), ("KWD", 12_340), ("ISK", 1500), ("EUR", 999)]
        ):
            answer = await create(client, f"{name}-{number}", a_request(currency, amount))
            assert answer.status == 201, answer
            assert answer.payment["status"] == "captured", answer
            paid.append((answer.payment["id"], answer.payment["psp_reference"]))
        for number, (payment, _) in enumerate(paid[:3]):
            refunded = await change(
                client, payment, "refunds", f"{name}-r{number}", amount_minor=500
            )
            assert refunded.status == 201, refunded
        manual = await create(client, f"{name}-m", a_request(capture="manual"))
        await change(client, manual.payment["id"], "capture", f"{name}-mc", amount_minor=700)
        voided = await create(client, f"{name}-v", a_request(capture="manual"))
        await change(client, voided.payment["id"], "cancel", f"{name}-vc")
        declined = await create(
            client, f"{name}-d", a_request(payment_token="pm_card_chargeDeclined")
        )
        assert declined.status == 402, declined
    return paid


def test_they_agree_until_something_is_altered(payments_stack: PaymentsStack) -> None:
    stack = payments_stack
    paid = asyncio.run(_bought(stack))
    ended = stack.books()
    assert ended.status == 0, (ended.json, ended.errors)
    totals = {(t["currency"], t["kind"]): t for t in ended.json["totals"]}
    assert totals["KWD", "charges"]["actual"] == {"count": 1, "amount_minor": 12_340}
    assert totals["ISK", "charges"]["actual"] == {"count": 1, "amount_minor": 1500}
    assert totals["JPY", "refunds"]["actual"] == {"count": 1, "amount_minor": 500}

    # A charge by hand stands apart; a refund by hand of our charge does not.
    asyncio.run(_by_hand(stack, paid[4][1]))
    ended = stack.books()
    assert ended.status == 1, (ended.json, ended.errors)
    assert [
        (d["payment_id"], d["kind"], d["expected_minor"], d["actual_minor"], d["state"])
        for d in ended.json["differences"]
    ] == [(paid[4][0], "refunds", 0, 99, "proven")]
    assert [(f["kind"], f["amount_minor"]) for f in ended.json["foreign"]] == [("charges", 1200)]

    # A row that is gone.
    with stack.without_guards() as session:
        session.execute(
            "DELETE FROM payments WHERE payment_id = %s AND event_type = 'captured'", [paid[3][0]]
        )
    ended = stack.books()
    assert ended.status == 1
    assert {
        (d["payment_id"], d["psp_reference"], d["expected_minor"], d["actual_minor"])
        for d in ended.json["differences"]
        if d["kind"] == "charges"
    } == {(paid[3][0], paid[3][1], 0, 1500)}
    assert ended.json["differing"] == 2

    # Without the PSP nothing can be told.
    stack.stack.stop("simulator")
    ended = stack.books()
    assert ended.status == 2
    assert (ended.json["verdict"], ended.json["lines"]) == ("undecided", None)
    assert ended.errors == f"purser: {ended.json['reason']}\n"
    assert ended.json["reason"].startswith("stripe: ")


async def _by_hand(stack: PaymentsStack, reference: str) -> None:
    await stack.ask_simulator(
        "POST",
        "/v1/payment_intents",
        form={
            "amount": 1200,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "payment_method_types[]": "card",
            "confirm": "true",
        },
    )
    await stack.ask_simulator(
        "POST", "/v1/refunds", form={"payment_intent": reference, "amount": 99}
    )
