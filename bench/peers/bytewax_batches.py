"""bytewax with a source written for this comparison: an item is a batch of records."""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from bench.peers.confluent_loop import CONSUME_SECONDS, consumer
from bench.peers.job import ROWS_MAX, Job
from schemas.runtime import entry_point
from streams.records import Records, records_of_messages


class _Partition(StatelessSourcePartition[Records]):
    def __init__(self) -> None:
        self._consumer = consumer()

    def next_batch(self) -> list[Records]:
        messages = self._consumer.consume(ROWS_MAX, CONSUME_SECONDS)
        return [records_of_messages(messages)] if messages else []


class _Source(DynamicSource[Records]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Partition:
        return _Partition()


class _Writer(StatelessSinkPartition[Records]):
    def __init__(self) -> None:
        self._job = Job()

    def write_batch(self, items: list[Records]) -> None:
        for records in items:
            self._job.take_batch(records)


class _Sink(DynamicSink[Records]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer:
        return _Writer()


@entry_point
def main() -> None:
    """Run the dataflow up to the wanted number of events."""
    flow = Dataflow("peers")
    stream: Any = op.input("kafka", flow, _Source())
    op.output("clickhouse", stream, _Sink())
    cli_main(flow)


if __name__ == "__main__":
    main()
