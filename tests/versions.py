"""A Purser of a later day, for tests: it writes version 3 and has the upcasters for 1 and 2.

There is only version 1 so far. What will be done once there are more is tried out with changes of
meaning as real ones would be: a word that is now another, amounts that are booked elsewhere, a
fact in `details` that has a new name.
"""

import json
from collections.abc import Mapping

import pytest

import operations.verify.old_rows
import schemas.upcast
import streams.decode
import writer.postgres
import writer.rows
from schemas.upcast import Row, Upcaster

NEWEST = 3


def second(row: Row) -> Row:
    """To version 2, which calls the method `card` `credit_card`, and a `reason` a `cause`."""
    details = json.loads(row["details"])
    if "reason" in details:
        details["cause"] = details.pop("reason")
    method = "credit_card" if row["method"] == "card" else row["method"]
    return row | {"method": method, "details": json.dumps(details)}


def third(row: Row) -> Row:
    """To version 3, in which delivery is the platform's own: its fee is part of the commission.

    The guards, which read rows as stored, would need a migration for it; folding does not.
    """
    commission = row["commission_minor"] + row["logistics_fee_minor"]
    return row | {"commission_minor": commission, "logistics_fee_minor": 0}


UPCASTERS: Mapping[int, Upcaster] = {1: second, 2: third}

MEANING = {
    "method": "if(stored.schema_version < 2 AND stored.method = 'card',"
    " 'credit_card', stored.method)",
    "commission_minor": "if(stored.schema_version < 3,"
    " stored.commission_minor + stored.logistics_fee_minor, stored.commission_minor)",
    "logistics_fee_minor": "if(stored.schema_version < 3, 0, stored.logistics_fee_minor)",
}
"""The same in SQL, as `operations.verify.old_rows` has it; no view depends on `details`."""


def upgrade(
    monkeypatch: pytest.MonkeyPatch,
    upcasters: Mapping[int, Upcaster] = UPCASTERS,
    meaning: Mapping[str, str] = MEANING,
) -> None:
    """Make all code be of version `len(upcasters) + 1`."""
    newest = len(upcasters) + 1
    schemas.upcast.check_complete(upcasters, newest)
    for module in (schemas.upcast, streams.decode, writer.postgres, writer.rows):
        monkeypatch.setattr(module, "SCHEMA_VERSION", newest)
    monkeypatch.setattr(schemas.upcast, "UPCASTERS", upcasters)
    monkeypatch.setattr(operations.verify.old_rows, "MEANING", meaning)
