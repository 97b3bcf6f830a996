"""Other frameworks that do the worker's job, each in its best idiom.

The job: read the payments topic from its start, decode every envelope, and write every row of
`payment_events` to ClickHouse, up to 20,000 rows an insert, decoding the next rows meanwhile.

    job.py               the common part: decode, rows, inserts, clock
    topic.py             fills a topic with envelopes as Debezium writes them
    run.py               the section of `purser bench`: one process each, totals checked, ratios
    confluent_loop.py    a hand-written loop over confluent_kafka's consume(): the upper bound
    bytewax_batches.py   bytewax with a source of batches written for this comparison
    bytewax_stock.py     bytewax with its own Kafka source
    quix.py              Quix Streams
    pathway_.py          Pathway
    faust_stock.py       stock Faust, record by record
    replay.py            a reader of `purser replay`

`make peers` installs the frameworks in a separate environment. Nothing else imports them.
"""
