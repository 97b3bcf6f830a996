"""Debezium on Kafka Connect: from PostgreSQL's log to the payments topic."""
