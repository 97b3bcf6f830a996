"""A payment service for tests, in a process that can be killed: `python -m … FIRST COUNT`.

It creates payments with keys that say which they are, so that a killed one can be started again
and asks for the same.
"""

import asyncio
import os
import random
import sys
from datetime import UTC, datetime

from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from payins.answers import InFlight
from payins.execute import PayIns
from payins.metrics import PayInsMetrics
from payins.processors import CallLimits, Processors
from schemas.errors import ServiceUnavailable
from writer.append import open_async_writer
from writer.commands import CreatePayment, OrderLine, RequestCapture, RequestRefund

AT_ONCE = 8
CALL_SECONDS = 3.0


def payment(run: str, number: int) -> CreatePayment:
    """The payment of that number: the same whenever it is asked for."""
    is_manual = number % 4 == 1
    return CreatePayment(
        idempotency_key=f"{run}-{number}",
        occurred_at=datetime.now(UTC),
        buyer_id="buyer",
        currency="EUR",
        psp="stripe",
        method="card",
        orders=(OrderLine(order_id=f"{run}-o{number}", seller_id="seller", amount_minor=1000),),
        flow="direct",
        capture="manual" if is_manual else "automatic",
        payment_token="pm_card_chargeDeclined" if number % 10 == 9 else "pm_card_visa",
    )


async def pay(payins: PayIns, run: str, number: int) -> None:
    """Create a payment, and capture or refund some."""
    command = payment(run, number)
    fields = {"occurred_at": datetime.now(UTC), "payment_id": command.payment_id}
    while True:
        try:
            result = await payins.create(command, respond_async=number % 5 == 4)
            if isinstance(result, InFlight):
                await asyncio.sleep(0.3)
                continue
            if number % 4 == 1:
                capture = RequestCapture(idempotency_key=f"{run}-{number}-capture", **fields)  # type: ignore[arg-type]
                await payins.capture(capture)
            if number % 4 == 2:
                refund = RequestRefund(
                    idempotency_key=f"{run}-{number}-refund",
                    refund_id=f"{run}-{number}-r",
                    amount_minor=400,
                    **fields,  # type: ignore[arg-type]
                )
                await payins.refund(refund)
            return
        except ServiceUnavailable:
            await asyncio.sleep(0.5)


async def main(run: str, first: int, count: int) -> None:
    """Pay, some at once, in an order of its own."""
    metrics = PayInsMetrics()
    limits = CallLimits(call_seconds=CALL_SECONDS, breaker_failures=50)
    async with open_async_writer(os.environ["PURSER_POSTGRES_DSN"]) as writer:
        processors = Processors([StripeProcessor(StripeSettings.load())], metrics, limits)
        payins = PayIns(writer, processors, metrics)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with slots:
                await pay(payins, run, number)

        numbers = list(range(first, first + count))
        random.shuffle(numbers)
        await asyncio.gather(*map(one, numbers))
        await processors.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
