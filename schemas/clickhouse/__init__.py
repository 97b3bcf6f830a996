"""ClickHouse migrations: numbered files of statements that can each be run again."""
