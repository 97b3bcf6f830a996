"""The engine's start configuration: limits for a shared machine, safe defaults, and rights.

Inserts are synchronous and never dropped as duplicates, all times are UTC, caches are small, and
part of the disk is always kept free.

chDB has one user and no SQL for others. That user has two roles: all rights, and the analyst's,
which may read the views. A connection begins with both; one that serves the reader is reduced to
the second before the statement runs (`handler`).
"""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from schemas.clickhouse.rights import ANALYST_ROLE, analyst_rights
from stack.clickhouse_http.settings import MIB, ServerSettings

CACHE_BYTES: Final = 32 * MIB  # each of the engine's caches; production defaults are GiB

_ADMIN_ROLE: Final = "purser_admin"

_FIXED_SETTINGS: Final = (
    # Settings with which a statement means something else than its text.
    "dialect",
    "allow_experimental_kusto_dialect",
    "allow_experimental_prql_dialect",
    "allow_experimental_polyglot_dialect",
    "polyglot_dialect",
    "enable_json_ast_dialect",
    "enable_trino_dialect",
    "implicit_select",
    "implicit_table_at_top_level",
    "allow_experimental_eval_table_function",
    # Settings that name files or servers.
    "format_template_row",
    "format_template_resultset",
    "format_schema",
    "format_schema_source",
    "format_avro_schema_registry_url",
    "output_format_schema",
)
"""Settings that nobody may change, so that they cannot bypass the checked text or the format. The
engine has only one user, so they are fixed for everybody.
"""

_HIDDEN: Final = """
    asynchronous_inserts asynchronous_loader azure_queue_metadata azure_queue_metadata_cache
    azure_queue_settings background_schedule_pool backups certificates clusters completions
    constraints dashboards data_skipping_indices database_replicas detached_parts detached_tables
    dictionaries dictionary_sources dimensional_metrics disks distributed_ddl_queue
    distribution_queue dns_cache dropped_tables dropped_tables_parts errors events fail_points
    filesystem_cache filesystem_cache_settings grants graphite_retentions handlers
    histogram_metrics hypothetical_indexes hypothetical_projections iceberg_files iceberg_history
    jemalloc_arena_bins jemalloc_bins jemalloc_profile_text jemalloc_sampled_allocations
    jemalloc_stats kafka_consumers macros masking_policies merge_tree_settings merges metrics moves
    mutations named_collections part_moves_between_shards parts parts_columns privileges processes
    projection_parts projection_parts_columns projections query_cache query_condition_cache
    quota_limits quota_usage quotas quotas_usage remote_data_paths replicas replicated_fetches
    replicated_merge_tree_settings replication_queue resources rocksdb role_grants roles
    row_policies s3_queue_metadata s3_queue_settings s3queue_metadata_cache scheduler
    schema_inference_cache server_settings session_query_ids settings_changes
    settings_profile_elements settings_profiles stack_trace statements storage_policies symbols
    user_defined_functions user_directories user_processes user_query_log users view_refreshes
    warnings workloads
"""
HIDDEN_SYSTEM_TABLES: Final = tuple(_HIDDEN.split())
"""System tables that the reader sees empty: others' statements, the server's parts and settings.
The engine's grants do not cover its system tables. A test lists the visible ones, so that a new one
of a new engine requires a decision.
"""

CLEANUP_SECONDS: Final = 1
"""How often merged parts are deleted. By default they wait for half a minute. With twenty small
inserts a second they are many hundreds by then, which 128 threads delete at once, and meanwhile an
insert takes 150 to 700 ms. A second's worth is too little for threads."""

_SERVER_CONFIG = """<clickhouse>
  <users_config>{users}</users_config>
  <timezone>UTC</timezone>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{cache}</mark_cache_size>
  <primary_index_cache_size>{cache}</primary_index_cache_size>
  <index_mark_cache_size>{cache}</index_mark_cache_size>
  <query_condition_cache_size>{cache}</query_condition_cache_size>
  <compiled_expression_cache_size>{cache}</compiled_expression_cache_size>
  <parquet_metadata_cache_size>{cache}</parquet_metadata_cache_size>
  <background_pool_size>{threads}</background_pool_size>
  <background_schedule_pool_size>{threads}</background_schedule_pool_size>
  <merge_tree>
    <cleanup_delay_period>{cleanup}</cleanup_delay_period>
    <max_cleanup_delay_period>{cleanup}</max_cleanup_delay_period>
    <cleanup_delay_period_random_add>0</cleanup_delay_period_random_add>
  </merge_tree>
  <storage_configuration><disks><default>
    <keep_free_space_bytes>{reserve}</keep_free_space_bytes>
  </default></disks></storage_configuration>
</clickhouse>
"""
_USERS_CONFIG = """<clickhouse>
  <profiles><default>
    <async_insert>0</async_insert>
    <insert_deduplicate>0</insert_deduplicate>
    <deduplicate_insert>disable</deduplicate_insert>
    <deduplicate_insert_select>disable</deduplicate_insert_select>
    <implicit_select>0</implicit_select>
    <allow_introspection_functions>0</allow_introspection_functions>
    <session_timezone>UTC</session_timezone>
    <constraints>{constraints}</constraints>
  </default></profiles>
  <users><default>
    <password></password>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <grants>
      <query>GRANT {admin}</query>
      <query>GRANT {analyst}</query>
    </grants>
    <databases><system>{policies}</system></databases>
  </default></users>
  <roles>
    <{admin}><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></{admin}>
    <{analyst}><grants>{rights}</grants></{analyst}>
  </roles>
  <quotas><default></default></quotas>
</clickhouse>
"""


def write_configuration(folder: Path, settings: ServerSettings) -> str:
    """Write the engine's two files into `folder`; returns the argument of `chdb.connect`.

    Raises `OSError`.
    """
    users, server = folder / "users.xml", folder / "config.xml"
    users.write_text(
        _USERS_CONFIG.format(
            constraints="".join(f"<{name}><readonly/></{name}>" for name in _FIXED_SETTINGS),
            policies="".join(
                f"<{table}><filter>has(currentRoles(), '{_ADMIN_ROLE}')</filter></{table}>"
                for table in HIDDEN_SYSTEM_TABLES
            ),
            admin=_ADMIN_ROLE,
            analyst=ANALYST_ROLE,
            rights="".join(
                f"<query>GRANT {right}</query>" for right in analyst_rights(settings.database)
            ),
        )
    )
    server.write_text(
        _SERVER_CONFIG.format(
            users=escape(str(users)),
            memory=settings.max_server_memory_bytes,
            cache=CACHE_BYTES,
            threads=settings.background_threads,
            cleanup=CLEANUP_SECONDS,
            reserve=settings.min_free_disk_bytes,
        )
    )
    return f"{folder / 'data'}?config-file={server}"
