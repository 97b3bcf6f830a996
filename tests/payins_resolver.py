"""A resolver on a world in memory."""

from collections.abc import Collection

from payins.resolve import Resolver
from schemas.ids import PaymentId
from tests.payins_world import World


def resolver_of(world: World, claimed: Collection[str] = ()) -> Resolver:
    """The resolver of a world in which other payments have paid these orders."""

    async def paid(_payment_id: PaymentId, orders: frozenset[str]) -> frozenset[str]:
        return orders & frozenset(claimed)

    return Resolver(world.carry_out, world.ledger, world.processors, paid, world.clock)
