"""Writes down anew which rows the golden envelopes fold to, after rows changed on purpose.

    python -m tests.golden.expect

Read the difference before it is committed: it is what a replay will change in every view. The
envelopes themselves stay as they are.
"""

from operations.console import say
from schemas.events import SCHEMA_VERSION
from tests.golden.files import expected_file, write_expected


def main() -> None:
    """Every version's rows."""
    for version in range(1, SCHEMA_VERSION + 1):
        write_expected(version)
        say(f"wrote {expected_file(version).name}")


if __name__ == "__main__":
    main()
