"""Other frameworks that do the worker's job, each in its best idiom.

The job: read the payments topic from its start, decode every envelope, and write every row of
`payment_events` to ClickHouse, up to 20,000 rows an insert, decoding the next rows meanwhile.

    job.py               the common part: decode, rows, inserts, clock
    topic.py             fills a topic with envelopes as Debezium writes them
    field.py             that topic and a database, the processes, and their CPU
    run.py               the section of `purser bench`: one process each, totals checked, ratios
    trickle.py           the section with few records a second: how late, at what cost
    confluent_loop.py    a hand-written loop over confluent_kafka's consume(): the upper bound
    bytewax_batches.py   bytewax with a source of batches written for this comparison
    bytewax_stock.py     bytewax with its own Kafka source
    quix.py              Quix Streams
    pathway_.py          Pathway
    faust_stock.py       stock Faust, record by record
    replay.py            a reader of `purser replay`
    clickhouse_sink.py   ClickHouse's own Kafka Connect sink, which needs no program of ours
    landing.py           the tables that it writes to, and the views that unwrap its records

`make peers` installs the frameworks in a separate environment. Nothing else imports them. The sink
is in no package registry: unpack its release below `build/peers`.
"""
