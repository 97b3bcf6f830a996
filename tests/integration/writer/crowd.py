"""A process whose coroutines append payments through one async writer, and that may be killed.

`python -m tests.integration.writer.crowd CALLERS LIVES SEED` prints the key of each command that
was acknowledged, with the seqs of its rows. Its commands follow from the seed, so that the test
knows them.
"""

import asyncio
import os
import sys
from random import Random

from tests.builders import a_payment, change, line
from writer import commands as c
from writer.append import Appended, AsyncWriter
from writer.postgres import open_store


def lives_of(seed: int, count: int) -> list[list[c.AnyCommand]]:
    """The commands of some payments, each list in its order."""
    chance = Random(seed)
    found: list[list[c.AnyCommand]] = []
    for number in range(count):
        key = f"crowd-{seed}-{number}"
        orders = [line(order, seller_id=f"{key}-{order}") for order in "AB"[: chance.randint(1, 2)]]
        life: list[c.AnyCommand] = [a_payment(*orders, idempotency_key=key)]
        for step in range(chance.randint(1, 6)):
            amount = chance.randint(1, 100)
            life.append(change(c.Capture, life[0].payment_id, amount_minor=amount,
                               idempotency_key=f"{key}-{step}"))  # fmt: skip
        found.append(life)
    return found


async def send(writer: AsyncWriter, lives: list[list[c.AnyCommand]], callers: int) -> None:
    """Send all lives; each caller takes the next one when its last one has ended."""
    waiting = iter(lives)

    async def call() -> None:
        for life in waiting:
            for command in life:
                answer = await writer.handle(command)
                assert isinstance(answer, Appended), answer
                seqs = ",".join(str(event.seq) for event in answer.events)
                # At once and whole: what is printed is acknowledged, whatever happens next.
                os.write(1, f"{command.idempotency_key} {seqs}\n".encode())

    await asyncio.gather(*(call() for _ in range(callers)))


async def main() -> None:
    callers, count, seed = map(int, sys.argv[1:])
    with open_store(os.environ["PURSER_POSTGRES_DSN"]) as store:
        # PostgreSQL is killed again and again, and its manager waits ever longer.
        writer = AsyncWriter(store, retry_seconds=120.0)
        await send(writer, lives_of(seed, count), callers)
        writer.close()


if __name__ == "__main__":
    asyncio.run(main())
