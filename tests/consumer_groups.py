"""What a consumer group has committed."""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.waiting import wait_until

TIMEOUT_SECONDS = 60.0
# What a broker answers for a moment after its start.
NOT_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)


class GroupOffsets:
    """The committed offsets of one group, read by a client that never joins it.

    `AdminClient.list_consumer_group_offsets` would do, but it ends the process by a segmentation
    fault when the broker answers NOT_COORDINATOR, as a new one does for a moment
    (https://github.com/confluentinc/librdkafka/issues/5040). A consumer gets an error instead.
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0}
        )

    def of(self, topic: str, partitions: int) -> dict[int, int]:
        """Offsets by partition; one that the group has not committed is left out."""
        asked = [TopicPartition(topic, number) for number in range(partitions)]

        def answer() -> list[TopicPartition]:
            found: list[TopicPartition] = []
            try:
                found = self._consumer.committed(asked, timeout=TIMEOUT_SECONDS)
            except KafkaException as error:
                if error.args[0].code() not in NOT_YET:
                    raise
            return found

        offsets = wait_until(answer, "the group's coordinator answers", seconds=TIMEOUT_SECONDS)
        for each in offsets:
            if each.error is not None:
                raise KafkaException(each.error)
        return {each.partition: each.offset for each in offsets if each.offset >= 0}

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
