"""Checkpoints: a start from one remembers whatever a reading of the whole table would.

Two workers share partitions of a table in which rows are recorded first and become visible later,
in another order. The topic brings its records late, again, or never; partitions move in the middle
of a reading, workers crash, and a frozen one writes a checkpoint when another has gone on.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from payins.catch_up import CatchUp
from payins.pending import Pending, PendingMemory
from payins.rebuild import partition_of
from schemas.ids import PaymentId
from tests.model_table import PAYMENTS, ModelTable

PARTITIONS = 2
ROUNDS = 400
LIMIT = 1_000


@dataclass
class Worker:
    """What `Rounds` does with partitions, and the app with records."""

    world: ModelTable
    owned: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)
    unread: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.memory = PendingMemory(LIMIT)
        self.offset = 0
        self.catch_up = CatchUp(
            memory=self.memory, table=self.world, checkpoints=self.world, partitions=PARTITIONS
        )

    def follow(self) -> None:
        came, went = self.owned - self.known, self.known - self.owned
        self.known = set(self.owned)
        if went:
            self.memory.keep_partitions(self.owned)
            self.catch_up.forget(went)
        self.unread = (self.unread | came) & self.owned

    def read_topic(self) -> None:
        """Records come; or come again, or are left out."""
        chosen = self.world.random
        if chosen.random() < 0.2:
            self.offset = chosen.randrange(self.offset + 1)
        elif chosen.random() < 0.1:
            self.offset = len(self.world.topic)
        upto = min(len(self.world.topic), self.offset + chosen.randrange(4))
        for row in self.world.topic[self.offset : upto]:
            partition = partition_of(row.payment_id, PARTITIONS)
            if partition in self.known:
                self.memory.apply(row, partition)
        self.offset = upto

    async def run(self) -> None:
        while True:
            await self.world.pause()
            if self.unread:
                was_read = await self.catch_up.start(frozenset(self.unread))
                self.unread -= was_read
            elif self.known:
                await self.catch_up.go_on(frozenset(self.known))
            await asyncio.sleep(0)


def whole_table(world: ModelTable) -> dict[PaymentId, Pending]:
    """What is open by the whole table."""
    memory = PendingMemory(LIMIT)
    for payment_id, rows in world.visible.items():
        memory.apply_stream(rows, partition_of(payment_id, PARTITIONS))
    found = {PaymentId(each): memory.get(PaymentId(each)) for each in PAYMENTS}
    return {payment_id: entry for payment_id, entry in found.items() if entry is not None}


async def new_start(world: ModelTable) -> PendingMemory:
    """A worker starts from what is saved, alone, while nothing else happens."""
    memory = PendingMemory(LIMIT)
    still = ModelTable(random=random.Random(0), clock=world.clock, visible=world.visible)
    still.saved = dict(world.saved)
    catch_up = CatchUp(memory=memory, table=still, checkpoints=still, partitions=PARTITIONS)
    every = frozenset(range(PARTITIONS))
    assert await catch_up.start(every) == every
    return memory


def check(memory: PendingMemory, world: ModelTable) -> None:
    for payment_id, expected in whole_table(world).items():
        entry = memory.get(payment_id)
        assert entry is not None, world.visible[payment_id]
        assert expected.orders.keys() <= entry.orders.keys(), world.visible[payment_id]
        assert expected.requests.keys() <= entry.requests.keys(), world.visible[payment_id]


async def happen(
    world: ModelTable, workers: list[Worker], tasks: list["asyncio.Task[None]"]
) -> None:
    """One thing after the other; after each change of a checkpoint a start from it is tried."""
    checked = 0
    for _ in range(ROUNDS):
        world.clock += timedelta(microseconds=1)
        number = world.random.randrange(len(workers))
        match world.random.randrange(12):
            case 0 | 1 | 2:
                world.append()
            case 3 | 4 | 5:
                world.commit()
            case 6 | 7 | 8:
                workers[number].read_topic()
            case 9:
                partition = world.random.randrange(PARTITIONS)
                for each in workers:
                    each.owned.discard(partition)
                    each.follow()
                workers[number].owned.add(partition)
                workers[number].follow()
            case 10 if world.random.random() < 0.3:
                tasks[number].cancel()  # it crashes
                workers[number] = Worker(world, owned=set(workers[number].owned))
                workers[number].follow()
                tasks[number] = asyncio.create_task(workers[number].run())
            case _:
                world.tick()
        await world.pause()
        for task in tasks:
            if task.done():
                task.result()
        if world.saves > checked:
            checked = world.saves
            check(await new_start(world), world)


async def run(seed: int) -> int:
    world = ModelTable(random.Random(seed))
    workers = [Worker(world), Worker(world)]
    tasks = [asyncio.create_task(each.run()) for each in workers]
    try:
        await happen(world, workers, tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    while world.under_way:
        world.commit()
    world.clock += timedelta(seconds=1)
    check(await new_start(world), world)
    return world.saves


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_start_from_a_checkpoint_remembers_what_the_whole_table_would_tell(first: int) -> None:
    saves = sum(asyncio.run(run(seed)) for seed in range(first, first + 10))
    assert saves > 100
