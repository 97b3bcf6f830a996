#!/bin/sh
# Runs once, when the container makes its cluster: the logins that the migrations grant rights to.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set owner_password="$PURSER_OWNER_PASSWORD" --set writer_password="$PURSER_WRITER_PASSWORD" \
  --set cdc_password="$PURSER_CDC_PASSWORD" --set reader_password="$PURSER_READER_PASSWORD" <<'SQL'
CREATE ROLE purser_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE purser_writer LOGIN PASSWORD :'writer_password';
CREATE ROLE purser_cdc LOGIN REPLICATION PASSWORD :'cdc_password';
CREATE ROLE purser_reader LOGIN PASSWORD :'reader_password';
-- `purser repair slot` drops a lost slot as purser_cdc.
GRANT purser_cdc TO purser_owner WITH INHERIT FALSE, SET TRUE;
ALTER DATABASE purser OWNER TO purser_owner;
REVOKE ALL ON DATABASE purser FROM PUBLIC;
GRANT CONNECT ON DATABASE purser TO purser_writer, purser_cdc, purser_reader;
\connect purser
REVOKE EXECUTE ON FUNCTION
    pg_logical_emit_message(boolean, text, text, boolean),
    pg_logical_emit_message(boolean, text, bytea, boolean),
    lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea)
FROM PUBLIC;
SQL
