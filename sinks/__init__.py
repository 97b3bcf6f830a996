"""The stores of view rows.

    protocol.py       what a sink guarantees
    memory.py         in memory, for tests
    clickhouse.py     ClickHouse over HTTP
    settings.py       addresses, and limits of one sink
    client.py         connects, and converts errors
    arrow.py          columns of rows -> Arrow
    roll_up.py        adds the totals up beforehand: minutes to months
    roll_up_plan.py   which buckets are due
    queries.py        common queries on the views
    queries_figures.py  queries of the API: figures, and how far the views are
    migrate.py        ClickHouse's schema
    source_topics.py  remembers which topics the views were made from
    analyst_user.py   the analysts' user on a ClickHouse server
    cluster.py        DDL for several nodes

A sink returns from a write when readers see the rows. Writing the same rows again changes nothing.
"""
