"""What the engine is told at start: limits that fit a machine it shares, and safe defaults.

Inserts are synchronous and never dropped as duplicates, all times are UTC, caches are small, and
some of the disk is always kept free.
"""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from stack.clickhouse_http.settings import MIB, ServerSettings

CACHE_BYTES: Final = 32 * MIB  # each of the engine's caches; production defaults are GiB

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
  </default></profiles>
  <users><default>
    <password></password>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <access_management>1</access_management>
  </default></users>
  <quotas><default></default></quotas>
</clickhouse>
"""


def write_configuration(folder: Path, settings: ServerSettings) -> str:
    """Write the engine's two files into `folder`; what `chdb.connect` is to be given.

    Raises `OSError`.
    """
    users, server = folder / "users.xml", folder / "config.xml"
    users.write_text(_USERS_CONFIG)
    server.write_text(
        _SERVER_CONFIG.format(
            users=escape(str(users)),
            memory=settings.max_server_memory_bytes,
            cache=CACHE_BYTES,
            threads=settings.background_threads,
            reserve=settings.min_free_disk_bytes,
        )
    )
    return f"{folder / 'data'}?config-file={server}"
