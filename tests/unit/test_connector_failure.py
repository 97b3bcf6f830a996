"""What a FAILED task says: the error at the root of Connect's trace, and where it has stopped.

The traces are real ones of Kafka Connect 4.3 with Debezium 3.6, with most of their frames left out.
"""

from typing import Any

import httpx
import pytest

from connectors.debezium.client import ConnectClient
from connectors.debezium.failure import ERROR_CHARACTERS_MOST, place, root_error

PRODUCER_LIMIT = """\
org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception trying to send
	at org.apache.kafka.connect.runtime.ExactlyOnceWorkerSourceTask.maybeWrapProducerSendException(ExactlyOnceWorkerSourceTask.java:355)
	at org.apache.kafka.connect.runtime.ExactlyOnceWorkerSourceTask.producerSendFailed(ExactlyOnceWorkerSourceTask.java:220)
	at java.base/java.lang.Thread.run(Thread.java:840)
Caused by: org.apache.kafka.common.KafkaException: Cannot execute transactional method because we are in an error state
	at org.apache.kafka.clients.producer.internals.TransactionManager.maybeFailWithError(TransactionManager.java:1189)
	at org.apache.kafka.connect.runtime.AbstractWorkerSourceTask.sendRecords(AbstractWorkerSourceTask.java:429)
	... 10 more
Caused by: org.apache.kafka.common.errors.RecordTooLargeException: The message is 40000516 bytes when serialized which is larger than 16777216, which is the value of the max.request.size configuration.
"""  # noqa: E501
TOPIC_LIMIT = """\
org.apache.kafka.connect.errors.ConnectException: Failed to flush offsets and/or records for task purser-payments-0
	at org.apache.kafka.connect.runtime.ExactlyOnceWorkerSourceTask.maybeWrapProducerSendException(ExactlyOnceWorkerSourceTask.java:355)
	at org.apache.kafka.connect.runtime.ExactlyOnceWorkerSourceTask.commitTransaction(ExactlyOnceWorkerSourceTask.java:331)
	at java.base/java.lang.Thread.run(Thread.java:840)
Caused by: org.apache.kafka.common.errors.RecordTooLargeException: The request included a message larger than the max message size the server will accept.
"""  # noqa: E501
TOLERANCE = """\
org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler
	at org.apache.kafka.connect.runtime.errors.RetryWithToleranceOperator.execAndHandleError(RetryWithToleranceOperator.java:259)
	at org.apache.kafka.connect.runtime.TransformationChain.apply(TransformationChain.java:58)
	at java.base/java.lang.Thread.run(Thread.java:840)
Caused by: org.apache.kafka.connect.errors.DataException: Value (c) was out of range for requested data type
	at org.apache.kafka.connect.transforms.Cast.castValueToType(Cast.java:284)
	... 14 more
Caused by: java.lang.NumberFormatException: For input string: "c"
	at java.base/java.lang.Integer.parseInt(Integer.java:668)
	... 22 more
"""  # noqa: E501
NO_TOPIC = """\
org.apache.kafka.connect.errors.ConnectException: Unable to create topic(s) 'purser.public.payments': Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.
	at org.apache.kafka.connect.util.TopicAdmin.createOrFindTopics(TopicAdmin.java:444)
	at java.base/java.lang.Thread.run(Thread.java:840)
Caused by: org.apache.kafka.common.errors.InvalidReplicationFactorException: Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.
"""  # noqa: E501
NO_PUBLICATION = """\
org.apache.kafka.connect.errors.ConnectException: Publication autocreation is disabled, please create one and restart the connector.
	at io.debezium.connector.postgresql.connection.PostgresReplicationConnection.initPublication(PostgresReplicationConnection.java:242)
	at java.base/java.lang.Thread.run(Thread.java:840)
"""  # noqa: E501
CONNECT = "org.apache.kafka.connect.errors.ConnectException"
ERRORS = "org.apache.kafka.common.errors"


@pytest.mark.parametrize(
    ("trace", "error"),
    [
        (
            PRODUCER_LIMIT,
            f"{ERRORS}.RecordTooLargeException: The message is 40000516 bytes when serialized which"
            " is larger than 16777216, which is the value of the max.request.size configuration."
            " (reported as org.apache.kafka.common.KafkaException: Cannot execute transactional"
            f" method because we are in an error state; {CONNECT}: Unrecoverable exception trying"
            " to send)",
        ),
        (
            TOPIC_LIMIT,
            f"{ERRORS}.RecordTooLargeException: The request included a message larger than the max"
            f" message size the server will accept. (reported as {CONNECT}: Failed to flush offsets"
            " and/or records for task purser-payments-0)",
        ),
        (
            TOLERANCE,
            'java.lang.NumberFormatException: For input string: "c" (reported as'
            " org.apache.kafka.connect.errors.DataException: Value (c) was out of range for"
            f" requested data type; {CONNECT}: Tolerance exceeded in error handler)",
        ),
        (
            NO_PUBLICATION,
            f"{CONNECT}: Publication autocreation is disabled, please create one and restart the"
            " connector.",
        ),
        ("PSQLException: no slot\n\tat Main\n", "PSQLException: no slot"),
        ("A: over\n  two lines\n\tat Main", "A: over two lines"),
        # Suppressed errors are indented: they came up while the failure was handled.
        (
            "A: it\n\tat Main\n\tSuppressed: B: other\n\t\tat Main\n\tCaused by: C: of the other\n"
            "Caused by: D: root\n\tat Main\n",
            "D: root (reported as A: it)",
        ),
        ("A: it\nCaused by: B: it says Caused by: nothing\n\tat x", "B: it says Caused by: nothing"
         " (reported as A: it)"),
        ("B: C: it\n\tat Main\nCaused by: C: it\n\tat Main", "C: it"),
        ("B: at C: it\n\tat Main\nCaused by: C: it\n", "C: it (reported as B: at C: it)"),
        ("A: " + "x" * 10_000, "A: " + "x" * (ERROR_CHARACTERS_MOST - 3) + "…"),
        ("", None),
        (" \n", None),
        (None, None),
    ],
)  # fmt: skip
def test_the_error_at_the_root_is_told(trace: str | None, error: str | None) -> None:
    assert root_error(trace) == error


def test_the_error_at_the_root_and_the_topic_are_told() -> None:
    error = root_error(NO_TOPIC)
    assert error is not None
    assert error.startswith(f"{ERRORS}.InvalidReplicationFactorException: Unable to replicate")
    assert "'purser.public.payments'" in error


CONFIG = {"topic.prefix": "purser", "table.include.list": "public.payments"}
OFFSET = {"lsn_proc": 30_971_616, "lsn": 4_325_938_912, "txId": 790, "ts_usec": 1_795_925_511_956}


@pytest.mark.parametrize(
    ("offsets", "config", "words"),
    [
        (
            {"offsets": [{"partition": {"server": "purser"}, "offset": OFFSET}]},
            CONFIG,
            "stopped at a record of topic purser.public.payments after transaction 790,"
            " log position 1/1D896E0",
        ),
        (
            {"offsets": [{"offset": {"lsn": 16}}]},
            CONFIG,
            "stopped at a record of topic purser.public.payments after transaction unknown,"
            " log position 0/10",
        ),
        (
            {"offsets": [{"offset": None}]},
            CONFIG,
            "stopped before the first record of topic purser.public.payments",
        ),
        (
            {"offsets": []},
            CONFIG,
            "stopped before the first record of topic purser.public.payments",
        ),
        ({"message": "rebalancing"}, CONFIG, None),
        ({"offsets": []}, {}, None),
    ],
)
def test_the_place_is_told_by_topic_and_log_position(
    offsets: dict[str, Any], config: dict[str, str], words: str | None
) -> None:
    assert place(offsets, config) == words


@pytest.mark.parametrize("offsets_status", [200, 500])
def test_a_failed_task_tells_error_topic_and_record(offsets_status: int) -> None:
    answers = {
        "/connectors/x/status": httpx.Response(
            200,
            json={
                "connector": {"state": "RUNNING"},
                "tasks": [{"id": 0, "state": "FAILED", "trace": PRODUCER_LIMIT}],
            },
        ),
        "/connectors/x/offsets": httpx.Response(
            offsets_status, json={"offsets": [{"offset": OFFSET}]}
        ),
        "/connectors/x/config": httpx.Response(200, json=CONFIG),
    }
    transport = httpx.MockTransport(lambda request: answers[request.url.path])
    with ConnectClient("http://connect", transport=transport) as connect:
        problem = connect.located(connect.health("x")).problem()
    assert problem.startswith(f"task 0 is FAILED: {ERRORS}.RecordTooLargeException: The message")
    # Without an answer about the place the error is told all the same.
    known = problem.endswith(
        "; stopped at a record of topic purser.public.payments after transaction 790,"
        " log position 1/1D896E0"
    )
    assert known == (offsets_status == 200)
