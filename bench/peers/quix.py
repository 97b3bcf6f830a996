"""Quix Streams: a dataframe of records, and a batching sink that flushes at each commit."""

from typing import Any

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.peers.job import BOOTSTRAP, GROUP, LIBRDKAFKA, ROWS_MAX, TOPIC, Job, decode
from schemas.runtime import entry_point


class _ClickHouse(BatchingSink):
    """Writes when the application commits, which is every `ROWS_MAX` records."""

    def __init__(self) -> None:
        super().__init__()
        self._job = Job()

    def write(self, batch: SinkBatch) -> None:
        for item in batch:
            self._job.take(item.value, batch.partition, item.offset)
        self._job.flush()


def _decoded(value: bytes) -> Any:
    return decode(value)


@entry_point
def main() -> None:
    """Run the application up to the wanted number of events."""
    application = Application(
        broker_address=BOOTSTRAP,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        commit_every=ROWS_MAX,
        consumer_extra_config=dict(LIBRDKAFKA),
        loglevel="ERROR",
    )
    topic = application.topic(TOPIC, key_deserializer="bytes", value_deserializer="bytes")
    application.dataframe(topic).apply(_decoded).sink(_ClickHouse())
    application.run()


if __name__ == "__main__":
    main()
