"""Where the rows of the views go.

protocol.py    what a sink promises
memory.py      in memory, for tests
clickhouse.py  ClickHouse over HTTP; settings.py, client.py and arrow.py belong to it
revenue.py     how `seller_revenue` is computed from `ledger_entries`
migrate.py     ClickHouse's schema
"""
