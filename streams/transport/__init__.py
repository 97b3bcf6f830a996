"""The batch transport: Kafka to Faust streams, a whole partition batch at a time.

Stock Faust spends four asyncio tasks on every record. Here a stream's event is a batch: its
`value` is the list of records that one fetch brought for one partition, its offset that of the
last record. `streams.app.make_app` makes an app that reads through it.

An agent reads batches, finishes with them and only then acknowledges::

    @app.agent(app.topic("purser.public.payments"))
    async def views(stream):
        async for event in stream.noack().events():
            records = event.value            # each has .topic .partition .offset .timestamp (in
            await write(records)             # milliseconds), .key and .value (bytes or None)
            event.ack()                      # may be called in any order, on the loop's thread

What that promises: a partition's committed offset is the end of its unbroken run of acknowledged
batches. Every record whose offset was not committed comes again after a crash, a rebalance or a
stop; nothing that was not acknowledged is skipped. Acknowledging a batch whose partition was
revoked meanwhile is harmless and without effect. An exception must not leave the agent: with
`noack` it acknowledges nothing, but the batches that the agent held are then never acknowledged
and the partition stops after `in_flight_batches_max` of them.

When the app stops, streams hand out nothing more, then `app.on_before_shutdown` is sent: what an
agent finishes and acknowledges while that signal is handled is still committed. `app.consumer` has
`health()`, `lag()` and `next_offsets()` for metrics.

It must never acknowledge by itself, nor read what is not committed by its producer.
"""

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
    """Faust's aiokafka driver with the batch consumer; producers are the stock ones."""

    Consumer: ClassVar[type[BatchConsumer]] = BatchConsumer

    def __init__(self, url: Any, app: Any, loop: Any = None, *, limits: TransportLimits) -> None:
        super().__init__(url, app, loop)
        self.limits = limits
