"""What the reader may name: functions, table functions, settings, formats. All else is refused.

Ordinary functions are allowed by the engine's own categories, because there are 1,300 of them. A
test calls each of the allowed ones with the name of a secret file.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from stack.clickhouse_http.errors import Code, refusal

_CATEGORIES = """
    Arithmetic;Arrays;Bit;Bitmap;Comparison;Conditional;Dates and Times;Distance;Encoding;
    Encryption;Financial;Geo;Geo Polygon;Hash;IP Address;JSON;Logical;Map;Mathematical;Null;
    NumericIndexedVector;QBit;Random Number;Rounding;String;String Replacement;String Search;
    String Splitting;Time Series;Time Window;Tuple;Type Conversion;URL;UUID
"""
CATEGORIES: Final = frozenset(part.strip() for part in _CATEGORIES.split(";"))
"""Categories of `system.functions` whose functions see nothing but their arguments."""

_OTHER = """
    authenticatedUser bar blockNumber blockSerializedSize blockSize byteSize caseWithExpression
    countDigits currentDatabase currentProfiles currentRoles currentSchemas currentUser
    defaultRoles defaultValueOfArgumentType defaultValueOfTypeName digits displayName
    dumpColumnStructure enabledRoles errorCodeToName exists finalizeAggregation flipCoordinates
    formatQuery formatQueryOrNull formatQuerySingleLine formatQuerySingleLineOrNull
    formatReadableDecimalSize
    formatReadableQuantity formatReadableSize formatReadableTimeDelta getSetting
    getSettingOrDefault getSizeOfEnumType getSubcolumn globalVariable grouping hostName identity
    ignore indexHint initializeAggregation isConstant isDecimalOverflow lambda materialize
    minSampleSizeContinuous minSampleSizeConversion neighbor normalizeQuery
    normalizeQueryKeepNames normalizedQueryHash normalizedQueryHashKeepNames
    parseISO8601Duration parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero
    parseTimeDelta queryID revision rowNumberInAllBlocks rowNumberInBlock runningAccumulate
    runningDifference runningDifferenceStartingWithFirstValue sleep sleepEachRow throwIf
    toColumnTypeName toTypeName transform untuple uptime variantElement variantType version
    visibleWidth
"""
OTHER_FUNCTIONS: Final = frozenset(_OTHER.split())
"""Harmless functions of other categories, and words that the engine's parser takes for calls."""

REFUSED_FUNCTIONS: Final = frozenset({"chdb", "formatRow", "formatRowNoNewline"})
"""Of allowed categories: a format as a function may read a template or a schema."""

TABLE_FUNCTIONS: Final = frozenset(
    {"generateseries", "generate_series", "merge", "numbers", "numbers_mt", "primes", "view"}
    | {"zeros", "zeros_mt"}
)
"""None of these takes a structure: `b String ALIAS file('x')` in one is code that runs."""

_SETTING: Final = re.compile(
    r"max_(?:rows|bytes)_(?:to_read|to_group_by|to_sort|in_set|in_join|in_distinct)"
    r"|max_(?:result_rows|result_bytes|columns_to_read|block_size|query_size)"
    r"|max_(?:threads|execution_time|memory_usage|temporary_data_on_disk_size_for_query)"
    r"|max_bytes_before_external_(?:group_by|sort)"
    r"|(?:read|result|timeout|group_by|sort|set|join|distinct)_overflow_mode"
    r"|output_format_(?!schema$)\w+|format_(?:csv|tsv)_\w+|input_format_binary_read_json_as_string"
    r"|date_time_(?:in|out)put_format|join_(?:algorithm|use_nulls|default_strictness)"
    r"|group_by_use_nulls|aggregate_functions_null_for_empty|transform_null_in|cast_keep_nullable"
    r"|union_default_mode|extremes|final|limit|offset|session_timezone|log_comment"
    r"|optimize_(?:read|aggregation)_in_order|cast_string_to_dynamic_use_inference"
)
"""Limits of one query, and how its answer looks. Never those of a user (`…_for_user`): the engine
has one user, so such a limit would bind the worker."""

_FORMAT: Final = re.compile(
    r"(?:TabSeparated|TSV)(?:Raw)?(?:WithNames(?:AndTypes)?)?|CSV(?:WithNames(?:AndTypes)?)?"
    r"|CustomSeparated(?:WithNames(?:AndTypes)?)?|JSON\w*|(?:RowBinary)(?:WithNames(?:AndTypes)?)?"
    r"|Pretty\w*|Native|Parquet|Arrow|ArrowStream|ORC|Avro|Vertical|Values|SQLInsert|Markdown|XML"
    r"|LineAsString|RawBLOB|Null|MsgPack|Npy|BSONEachRow|TSKV|Prometheus|HTML"
)
"""Formats that need nothing but the rows: no schema, no template, no object of this process."""


def check_format(name: str) -> None:
    """Raise 497 for an output format that reads more than the rows."""
    if not _FORMAT.fullmatch(name):
        raise refusal(
            Code.ACCESS_DENIED, f"Not enough privileges: the reader may not use FORMAT {name}."
        )


def harmless_setting(name: str) -> bool:
    """Whether a setting only limits its query or says how the answer looks."""
    return _SETTING.fullmatch(name) is not None


def check_settings(settings: Iterable[tuple[str, str]], caps: Mapping[str, str]) -> None:
    """Raise 164 for a setting that the reader may not change, or that it raises above its cap."""
    for name, value in settings:
        if not harmless_setting(name):
            raise refusal(Code.READONLY, f"The reader may not change the setting '{name}'.")
        if name in caps and not _within(value, caps[name]):
            raise refusal(
                Code.READONLY,
                f"The reader may set '{name}' to a number above 0 and up to {caps[name]} only.",
            )


def _within(value: str, cap: str) -> bool:
    """Whether a limit is as strict as the cap; 0 would be none."""
    if not re.fullmatch(r"[0-9]{1,19}(?:\.[0-9]{1,9})?", value):
        return False
    return 0 < float(value) <= float(cap)
