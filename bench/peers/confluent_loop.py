"""A hand-written loop over confluent_kafka's consume()."""

from confluent_kafka import Consumer

from bench.peers.job import BOOTSTRAP, GROUP, LIBRDKAFKA, ROWS_MAX, TOPIC, Job
from schemas.runtime import entry_point
from streams.records import records_of_messages

CONSUME_SECONDS = 0.1


def consumer() -> Consumer:
    """A consumer of the whole topic, from its start."""
    made = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **LIBRDKAFKA,
        }
    )
    made.subscribe([TOPIC])
    return made


@entry_point
def main() -> None:
    """Read the wanted number of events."""
    job, source = Job(), consumer()
    while True:
        messages = source.consume(ROWS_MAX, CONSUME_SECONDS)
        if messages:
            job.take_batch(records_of_messages(messages))


if __name__ == "__main__":
    main()
