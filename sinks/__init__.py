"""The stores of view rows.

protocol.py    what a sink guarantees memory.py      in memory, for tests clickhouse.py  ClickHouse
over HTTP, with settings.py, client.py and arrow.py revenue.py     how `seller_revenue` is computed
from `ledger_entries` queries.py     common queries on the views migrate.py     ClickHouse's schema;
reader.py: the analysts' user; cluster.py: several nodes
"""
