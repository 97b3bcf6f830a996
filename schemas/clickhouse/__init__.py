"""ClickHouse migrations: numbered files of repeatable statements."""
