"""The batch transport: delivers Kafka records to Faust streams as whole partition batches.

Stock Faust uses four asyncio tasks per record. Here an event of a stream is a batch: its `value` is
the list of records that one fetch returned for one partition, its offset is that of the last
record. `streams.app.make_app` makes an app that reads through this transport.

An agent reads a batch, finishes its work and only then acknowledges::

    @app.agent(app.topic("purser.public.payments"))
    async def views(stream):
        async for event in stream.noack().events():
            records = event.value            # each has .topic .partition .offset .timestamp (in
            await write(records)             # milliseconds), .key and .value (bytes or None)
            event.ack()                      # may be called in any order, on the loop's thread

The guarantee: a partition's committed offset is the end of its unbroken run of acknowledged
batches. After a crash, a rebalance or a stop, every record whose offset was not committed is
delivered again. No unacknowledged record is skipped. Acknowledging a batch whose partition has been
revoked has no effect. An exception must not leave the agent: with `noack` nothing is acknowledged,
but the agent's batches then stay unacknowledged for ever, and the partition stops after
`in_flight_batches_max` of them.

When the app stops, streams first stop handing out batches, then `app.on_before_shutdown` is sent.
What an agent acknowledges while that signal is handled is still committed. `app.consumer` has
`health()`, `lag()` and `next_offsets()` for metrics.

The transport must never acknowledge by itself, and must never read uncommitted records.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from faust.transport.drivers import aiokafka as driver

from streams.transport.consumer import BatchConsumer, BatchMessage
from streams.transport.health import ConsumerHealth
from streams.transport.limits import TransportLimits

__all__ = [
    "BatchConsumer",
    "BatchMessage",
    "BatchTransport",
    "ConsumerHealth",
    "TransportLimits",
]


class BatchTransport(driver.Transport):
    """Faust's aiokafka driver with the batch consumer and the stock producers."""

    Consumer: ClassVar[type[BatchConsumer]] = BatchConsumer

    def __init__(
        self,
        url: Any,
        app: Any,
        loop: Any = None,
        *,
        limits: TransportLimits,
        topic_ids: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(url, app, loop)
        self.limits = limits
        self.topic_ids = topic_ids
