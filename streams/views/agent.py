"""The Faust agent: passes batches from the transport to the pipeline, and does nothing else.

No exception may leave it: Faust would treat the batch as done, or stop reading.
"""

import asyncio
from typing import Any

import faust

from streams.views.coalescer import Batch
from streams.views.pipeline import Pipeline


def add_views_agent(app: faust.App, topic: str, pipeline: Pipeline[Any, Any]) -> None:
    """Make the app read a topic into the pipeline, which acknowledges the batches itself."""

    async def views(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await pipeline.put(_batch(app, event))
            except Exception as error:  # noqa: BLE001 - passed on; it ends the worker
                pipeline.fail(error)
                await asyncio.Event().wait()

    app.agent(app.topic(topic), name="views", concurrency=1)(views)


def _batch(app: faust.App, event: Any) -> Batch:
    message = event.message
    return Batch(
        topic=message.topic,
        partition=message.partition,
        records=event.value,
        acknowledge=event.ack,
        # After a rebalance all partitions are read again from their committed offsets.
        is_current=lambda: message.generation_id == app.consumer_generation_id,
    )
