-- Who folded which dead letter again, when, and what came of it: an audit, not a view. It cannot be
-- rebuilt from the topic, so no rebuild may empty, swap or drop it.

-- One row per record and attempt. Versionless: a note written again is the same note.
-- `parked_at` says which parking of the record was judged: a record that is parked once more
-- afterwards is open again. The two times come from one clock, the worker's, so that no other
-- machine's clock decides what is open.
CREATE TABLE IF NOT EXISTS dead_letter_redrives
(
    topic LowCardinality(String),
    partition UInt32,
    kafka_offset UInt64,
    redriven_at DateTime64(6, 'UTC'),
    redriven_by String,
    parked_at DateTime64(6, 'UTC'),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    error String,
    payment_id Nullable(UUID),
    seq UInt32,
    row_count UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, kafka_offset, redriven_at, redriven_by);

CREATE OR REPLACE VIEW dead_letter_redrives_v AS
SELECT * FROM dead_letter_redrives FINAL;

-- As before, and whether the record is still missing from the views. A condition on the position
-- reaches both tables' indexes.
CREATE OR REPLACE VIEW dead_letters_v AS
SELECT
    letters.*,
    if(redrives.redriven_parked_at >= letters.parked_at, 'redriven', 'open') AS state
FROM dead_letters AS letters FINAL
LEFT JOIN
(
    SELECT topic, partition, kafka_offset, max(parked_at) AS redriven_parked_at
    FROM dead_letter_redrives
    WHERE outcome = 'redriven'
    GROUP BY topic, partition, kafka_offset
) AS redrives
ON redrives.topic = letters.topic
    AND redrives.partition = letters.partition
    AND redrives.kafka_offset = letters.kafka_offset;
