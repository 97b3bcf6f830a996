"""Every command, and everything that can happen to its streams, by signals and by mistakes.

The statuses are those of docs/reference/commands.md. A new command without a row here fails.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.commands import app
from stack.settings import CHECKOUT
from tests.forked import CLOSED, FULL, GONE, NULL

COMMANDS = {
    "up": "PURSER_PORT_BASE",
    "down": "PURSER_PORT_BASE",
    "status": "PURSER_PORT_BASE",
    "env": "PURSER_PORT_BASE",
    "migrate": "PURSER_POSTGRES_ADMIN_DSN",
    "demo": "PURSER_PORT_BASE",
    "bench": "",
    "import": "PURSER_POSTGRES_DSN",
    "verify": "PURSER_POSTGRES_READER_DSN",
    "replay": "PURSER_POSTGRES_READER_DSN",
    "token": "PURSER_PORT_BASE",
    "repair slot": "PURSER_POSTGRES_ADMIN_DSN",
    "repair publication": "PURSER_POSTGRES_ADMIN_DSN",
    "repair topic": "PURSER_POSTGRES_ADMIN_DSN",
    "dead-letters list": "PURSER_CLICKHOUSE_URL",
    "dead-letters show": "PURSER_CLICKHOUSE_URL",
    "dead-letters redrive": "PURSER_CLICKHOUSE_URL",
    "payins retries": "PURSER_KAFKA_BOOTSTRAP",
    "payins dead-letters": "PURSER_KAFKA_BOOTSTRAP",
}
"""Command -> the setting that it names where nothing is set up; `bench` names none itself."""
ARGUMENTS = {
    "import": ["-"],
    "token": ["--role", "service"],
    "dead-letters show": ["purser.public.payments/0/0"],
    "dead-letters redrive": ["--all"],
}
WORK_OF_EACH = (
    "fails",
    "is cancelled",
    "loses its server",
    "reads past an end",
    "SIGINT",
    "SIGTERM",
    "SIGHUP",
)
HELPED = [name for name in COMMANDS if name != "bench"]
NOT_FOUND = {"PURSER_PORT_BASE": "nonsense"}


def names_of(command: object, path: str = "") -> set[str]:
    """All commands below this one."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {path}
    return set().union(*(names_of(each, f"{path} {name}".strip()) for name, each in inner.items()))


def test_every_command_has_a_row() -> None:
    assert names_of(get_command(app)) == COMMANDS.keys()
    page = (CHECKOUT / "docs/reference/commands.md").read_text()
    assert [name for name in COMMANDS if f"`purser {name}`" not in page] == []


def paths_of(command: Any) -> list[str]:
    """Options of this command and those below whose help shows a path of this machine."""
    inner = getattr(command, "commands", {}).values()
    shown = [
        option.name
        for option in command.params
        if isinstance(option.default, Path)
        and option.default.is_absolute()
        and option.show_default is True
    ]
    return sum(map(paths_of, inner), shown)


def test_no_help_shows_a_path_of_this_machine() -> None:
    assert paths_of(get_command(app)) == []


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    output: bytes
    errors: str


class Purser:
    """Runs commands in forks of one process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        cleared = {name: value for name, value in os.environ.items() if "PURSER_" not in name}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"],
            cwd=CHECKOUT,
            env=cleared | {"PURSER_HOME": str(home), "TMPDIR": str(home), "COLUMNS": "80"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        *arguments: str,
        stdin: str = NULL,
        stdout: str = "",
        stderr: str = "",
        encoding: str = "utf-8",
        environment: dict[str, str] | None = None,
        work: str = "",
    ) -> Ended:
        files = [self.home.with_name(name) for name in ("output", "errors")]
        for file in files:
            file.write_bytes(b"")
        run = {
            "arguments": arguments,
            "streams": [stdin, stdout or str(files[0]), stderr or str(files[1])],
            "encoding": encoding,
            "environment": environment or {},
            "work": work,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(run) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        errors = files[1].read_bytes().decode(encoding)
        assert "Traceback" not in errors
        assert "Exception ignored" not in errors
        return Ended(status, files[0].read_bytes(), errors)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@pytest.fixture(scope="module")
def purser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Purser]:
    home = tmp_path_factory.mktemp("exits") / "home"
    home.mkdir()
    started = Purser(home)
    yield started
    started.close()


# -- an answer that may not arrive: every command's help


@pytest.mark.parametrize("command", HELPED)
@pytest.mark.parametrize(
    ("streams", "status", "says"),
    [
        ({}, 0, ""),
        ({"stdout": GONE}, 0, ""),
        ({"stdout": FULL}, 2, "cannot be written to standard output (No space left on device)"),
        ({"stdout": CLOSED}, 2, "cannot be written to standard output (Bad file descriptor)"),
        ({"stdin": CLOSED}, 0, ""),
        ({"stderr": CLOSED}, 0, ""),
        ({"stdout": FULL, "stderr": FULL}, 2, ""),
        ({"stdout": CLOSED, "stderr": CLOSED}, 2, ""),
        ({"encoding": "ascii"}, 0, ""),
        ({"encoding": "latin-1"}, 0, ""),
    ],
    ids=str,
)
def test_an_answer(
    purser: Purser, command: str, streams: dict[str, str], status: int, says: str
) -> None:
    ended = purser(*command.split(), "--help", **streams)  # type: ignore[arg-type]
    assert ended.status == status, ended
    assert says in ended.errors if says else ended.errors == ""
    if "stdout" not in streams:
        output = ended.output.decode(streams.get("encoding", "utf-8"))
        assert f"Usage: purser {command}" in output
        assert ("╭" in output) == ("encoding" not in streams)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_report_has_signs_for_every_alphabet(purser: Purser, encoding: str) -> None:
    ended = purser("verify", work="answers", encoding=encoding)
    assert (ended.status, ended.errors) == (0, "")
    words = ended.output.decode(encoding)
    for line in ("+  first", "x  second", ">= 3", "... and at least 3 more"):
        assert line in words
    assert ("\\xe4..." if encoding == "ascii" else "ä...") in words


def closing(*descriptors: int) -> Callable[[], None]:
    """What a shell does for `<&-`, `>&-` and `2>&-`."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [((0, 1, 2), ["--help"], 2), ((0, 2), ["status", "--json"], 2), ((0, 2), ["--help"], 0)],
    ids=str,
)
def test_a_real_process_without_streams(
    tmp_path: Path, closed: tuple[int, ...], arguments: list[str], status: int
) -> None:
    """What a fork cannot show: the interpreter's own beginning."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"PURSER_HOME": str(tmp_path)},
        preexec_fn=closing(*closed),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == status
    assert ("Usage" in ended.stdout) == (status == 0)


# -- a command that cannot run


@pytest.mark.parametrize("command", [name for name, setting in COMMANDS.items() if setting])
@pytest.mark.parametrize(
    "streams",
    [
        {},
        {"stdout": CLOSED},
        {"stdin": CLOSED},
        {"stderr": CLOSED},
        {"stderr": FULL},
        {"encoding": "ascii"},
    ],
    ids=str,
)
def test_a_command_that_cannot_run(purser: Purser, command: str, streams: dict[str, str]) -> None:
    if "stdin" in streams and command == "import":
        setting = "standard input is closed; name a file to import"
    else:
        setting = COMMANDS[command]
    ended = purser(
        *command.split(),
        *ARGUMENTS.get(command, []),
        environment=NOT_FOUND,
        **streams,
    )
    assert ended.status == 2, ended
    if "stderr" not in streams:
        assert ended.errors.startswith(f"purser: {setting}"), ended
        assert ended.errors.count("\n") == 1


# -- a command that goes wrong, or is ended, in the midst of its work


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("work", WORK_OF_EACH)
def test_a_command_that_does_not_finish(purser: Purser, command: str, work: str) -> None:
    ended = purser(*command.split(), work=work)
    if work.startswith("SIG"):
        assert (ended.status, ended.errors) == (128 + signal.Signals[work], "")
        return
    assert ended.status == 70
    assert ended.errors.startswith("purser: unexpected ")
    assert ended.errors.count("\n") == 1
    details = Path(ended.errors.rpartition("; details in ")[2].strip())
    assert details.parent == purser.home / "logs"
    assert "Traceback (most recent call last)" in details.read_text()
    assert details.stat().st_mode & 0o777 == 0o600
    details.unlink()


def test_an_interruption_in_the_midst_of_a_destructor_is_not_lost(purser: Purser) -> None:
    ended = purser("verify", work="is interrupted in a destructor")
    assert (ended.status, ended.errors) == (130, "")


def test_a_question_that_nobody_answers(purser: Purser) -> None:
    ended = purser("dead-letters", "redrive", work="asks")
    assert ended.status == 2
    assert "purser: answer: the input ended before it" in ended.errors


def test_an_error_in_a_thread_is_one_line(purser: Purser) -> None:
    ended = purser("verify", work="fails in a thread")
    assert ended.errors.startswith("purser: unexpected RuntimeError: ")
    assert ended.errors.count("\n") == 1


def test_details_keep_no_secret_and_go_elsewhere_if_there_is_no_home(purser: Purser) -> None:
    ended = purser(
        "verify",
        work="fails",
        environment={"PURSER_HOME": "/dev/null", "PURSER_KEY": "s3same", "X": "a://b:hunter3@c"},
    )
    assert ended.status == 70
    details = Path(ended.errors.rpartition("; details in ")[2].strip())
    assert details.parent == purser.home
    for text in (ended.errors, details.read_text()):
        assert "postgresql://purser:***@db/x refuses, password='***'" in text
        assert "hunter" not in text.replace("hunter2@db/x refuses, password='hunter3'\")", "")


# -- a signal before there is anything to run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["cli.main", "bench"])
def test_a_signal_while_modules_are_loaded(
    tmp_path: Path, program: str, number: signal.Signals
) -> None:
    kill = f"os.kill(os.getpid(), {int(number)}); signal.pause()"
    # The first module that is not ours, and one in which an exception would be lost.
    (tmp_path / "typer.py").write_text(
        f"import os, signal\ntry:\n    {kill}\nexcept BaseException:\n    pass\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", program, "verify"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}"},
        # A shell that started the tests in the background has SIGINT ignored, and hands it down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", "")


def test_ctrl_c_while_python_starts(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("purser")
    for milliseconds in range(0, 120, 4):
        with subprocess.Popen(
            [script, "verify"],
            env=os.environ | {"PURSER_HOME": str(tmp_path)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command:
            time.sleep(milliseconds / 1000)
            command.send_signal(signal.SIGINT)
            out, errors = command.communicate()
        # The shell that the script begins with dies of the signal; who waits sees the same 130.
        assert command.returncode in (-signal.SIGINT, 128 + signal.SIGINT), milliseconds
        assert (out, errors) == ("", ""), milliseconds


def test_python_s_own_variables_and_a_folder_as_input_do_not_end_it(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("purser")
    wrong = {"PYTHONINSPECT": "1", "PYTHONHASHSEED": "x", "PYTHONHOME": "/x", "PYTHONMALLOC": "x"}
    ended = subprocess.run(
        [script, "import", "--dry-run", "-"],
        env=os.environ | wrong | {"PURSER_HOME": str(tmp_path)},
        stdin=os.open(tmp_path, os.O_RDONLY),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "purser: standard input is closed; name a file to import\n"


def test_a_removed_folder_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$0" env', Path(sys.executable).with_name("purser")],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = [line for line in ended.stderr.splitlines(keepends=True) if line[:3] != "sh:"]
    assert "".join(lines) == "purser: the current folder was removed; change to one that exists\n"


# -- wrong usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "command line: give a command; `purser --help`"),
        ("verifi", "command line: No such command 'verifi'. Did you mean 'verify'?"),
        ("verify --quick", "verify: No such option: --quick"),
        ("verify extra", "verify: Got unexpected extra argument(s) (extra)"),
        ("verify --rows many", "verify: Invalid value for '--rows'"),
        ("verify --rows 501", "rows: give 0 to 500"),
        ("verify --rows -1", "rows: give 0 to 500"),
        ("verify --timeout -1", "timeout: give 0 to 86400 seconds"),
        ("verify --timeout nan", "timeout: give 0 to 86400 seconds"),
        ("verify --timeout 1e99", "timeout: give 0 to 86400 seconds"),
        ("verify --since yesterday", "--since: 'yesterday' is not a day"),
        ("verify --since 2026-02-30", "--since: '2026-02-30' is not a day"),
        ("verify --until 10000-01-01", "--until: '10000-01-01' is not a day"),
        ("verify --since 2026-02-02 --until 2026-02-01", "until: 2026-02-01 is before --since"),
        ("replay --processes 0", "processes: give 1 to 256"),
        ("replay --processes -1", "processes: give 1 to 256"),
        ("replay --processes 257", "processes: give 1 to 256"),
        ("replay --rate 0", "rate: give records per second, at least 1"),
        ("replay --rate nan", "rate: give records per second, at least 1"),
        ("replay --rate 1e300", "rate: give records per second, at least 1"),
        ("replay --timeout -0.1", "timeout: give 0 to 86400 seconds"),
        ("replay --dry-run --digest", "dry-run: cannot be together with --digest"),
        ("replay --force --rollback", "force: cannot be together with --rollback"),
        ("replay --source paper", "replay: Invalid value for '--source'"),
        ("replay nonsense", "view: 'nonsense' cannot be replayed"),
        ("demo --rate 0", "demo: Invalid value for '--rate'"),
        ("demo --rate nan", "demo: Invalid value for '--rate'"),
        ("demo --rate 1e9", "demo: Invalid value for '--rate'"),
        ("demo --seconds inf", "demo: Invalid value for '--seconds'"),
        ("demo --seconds -1", "demo: Invalid value for '--seconds'"),
        ("demo --seed x", "demo: Invalid value for '--seed'"),
        ("import", "import: Missing argument 'file'"),
        ("import --dry-run a b", "import: Got unexpected extra argument(s) (b)"),
        ("import --dry-run ''", "import: Invalid value for 'file': names no file"),
        ("import --dry-run --rejects= -", "import: Invalid value for '--rejects': names no file"),
        (
            f"import --dry-run --psp={65 * 'x'} -",
            "import: Invalid value for '--psp': has 65 characters; at most 64",
        ),
        ("import --dry-run --psp= -", "import: Invalid value for '--psp': is empty"),
        ("import --dry-run --psp=ä -", "import: Invalid value for '--psp': has U+00E4"),
        ("dead-letters", "dead-letters: give a command; `purser dead-letters --help`"),
        ("dead-letters list --limit 0", "dead-letters list: Invalid value for '--limit'"),
        ("dead-letters list --limit 10001", "dead-letters list: Invalid value for '--limit'"),
        ("dead-letters list --state shut", "dead-letters list: Invalid value for '--state'"),
        ("dead-letters show nonsense", "position: 'nonsense' is not TOPIC/PARTITION/OFFSET"),
        ("dead-letters show t/99999999999/0", "position: 't/99999999999/0' is not"),
        ("dead-letters redrive", "what to redrive: give positions, or --reason, or --all"),
        ("dead-letters redrive --all --by=", "--by: give a name of 1 to 200 visible characters"),
    ],
)
def test_wrong_usage(purser: Purser, arguments: str, says: str) -> None:
    servers = {
        "PURSER_POSTGRES_READER_DSN": "postgresql://reader:x@127.0.0.1:9/purser",
        "PURSER_CLICKHOUSE_URL": "http://purser:x@127.0.0.1:9/purser",
        "PURSER_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    }
    ended = purser(*shlex.split(arguments), environment=servers)
    assert ended.status == 64, ended
    assert ended.errors.startswith(f"purser: {says}"), ended
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("import --dry-run {missing}", "No such file or directory; name a file to import"),
        ("import --dry-run {folder}", "Is a directory; name a file to import"),
        ("demo --file {missing}", "--file: there is no file"),
        ("demo --file {folder}", "--file: there is no file"),
        ("import --dry-run --rejects {folder} {bad}", "is a folder; name a file"),
        ("import --dry-run --rejects {missing}/x {bad}", "--rejects: cannot write"),
    ],
)
def test_a_path_that_is_none(purser: Purser, tmp_path: Path, arguments: str, says: str) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    paths = {"missing": tmp_path / "missing", "folder": tmp_path, "bad": bad}
    ended = purser(*arguments.format(**paths).split())
    assert ended.status == 2, ended
    assert says in ended.errors
