"""What people would otherwise choose, doing the same job as our worker, each in its own best idiom.

The job: read the topic of payments from its start, decode every envelope, and write every row of
`payment_events` to ClickHouse, up to 20,000 rows an insert, one insert while the next is decoded.

    job.py               what is the same for all: decode, rows, inserts, clock
    topic.py             fills a topic with envelopes as Debezium writes them
    run.py               the section of `purser bench`: each in a process, totals checked, ratios
    confluent_loop.py    a loop by hand over confluent_kafka's consume(): the best one can do
    bytewax_batches.py   bytewax with a source of batches written for it
    bytewax_stock.py     bytewax with its own Kafka source
    quix.py              Quix Streams
    pathway_.py          Pathway
    faust_stock.py       Faust as it comes, record by record
    replay.py            ours: a reader of `purser replay`

The frameworks are installed by `make peers`, apart from ours; nothing else imports them.
"""
