"""bytewax with its own Kafka source: an item is a record."""

from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from bench.peers.job import BOOTSTRAP, LIBRDKAFKA, TOPIC, Job, decode
from schemas.envelope import WireEnvelope
from schemas.runtime import entry_point

BATCH_RECORDS = 5_000

Item = tuple[WireEnvelope, int, int]


def _decoded(message: KafkaSourceMessage[bytes, bytes]) -> Item:
    return decode(message.value), message.partition, message.offset


class _Writer(StatelessSinkPartition[Item]):
    def __init__(self) -> None:
        self._job = Job()

    def write_batch(self, items: list[Item]) -> None:
        for envelope, partition, offset in items:
            self._job.take(envelope, partition, offset)


class _Sink(DynamicSink[Item]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer:
        return _Writer()


@entry_point
def main() -> None:
    """Run the dataflow up to the wanted number of events."""
    flow = Dataflow("peers")
    source = KafkaSource(
        [BOOTSTRAP],
        [TOPIC],
        tail=True,
        batch_size=BATCH_RECORDS,
        add_config={name: str(value) for name, value in LIBRDKAFKA.items()},
    )
    stream: Any = op.input("kafka", flow, source)
    op.output("clickhouse", op.map("decode", stream, _decoded), _Sink())
    cli_main(flow)


if __name__ == "__main__":
    main()
