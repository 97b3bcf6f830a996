"""Where the rows of the views go.

protocol.py    what a sink promises
memory.py      in memory, for tests
clickhouse.py  ClickHouse over HTTP; settings.py, client.py and arrow.py belong to it
revenue.py     how `seller_revenue` is computed from `ledger_entries`
queries.py     what people ask of the views
migrate.py     ClickHouse's schema; reader.py: the analysts' user; cluster.py: several nodes
"""
