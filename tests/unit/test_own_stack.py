"""The temporary stack of the demo and the benchmarks: one process at a time."""

import signal
from pathlib import Path

import pytest

from operations.own_stack import own_stack
from schemas.errors import ConfigurationError
from schemas.runtime import SIGNALS


def test_a_second_run_leaves_the_first_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PURSER_HOME", str(tmp_path / "home"))
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with own_stack("demo") as stack:
        stack.home.create()
        with (
            pytest.raises(ConfigurationError, match="another process uses the stack in"),
            own_stack("demo"),
        ):
            pass
        assert stack.home.path.is_dir()
        with own_stack("bench"):
            pass
    with own_stack("demo") as stack:
        assert not stack.home.path.exists()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
