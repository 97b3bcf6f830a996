"""One query from request to answer: the only module that combines the others.

The order is fixed: authentication, the query, the whole body, a free slot, a connection, the
engine, the answer. A failure before the engine is called has changed nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.types import Receive, Send

from stack.clickhouse_http import harmless
from stack.clickhouse_http.auth import Authenticator, User
from stack.clickhouse_http.blocks import MAX_BLOCK_BYTES, BlockDecoder
from stack.clickhouse_http.body import BodyReader, Spool
from stack.clickhouse_http.compression import AnswerEncoder
from stack.clickhouse_http.connection import Connection, Counts
from stack.clickhouse_http.engine import Engine
from stack.clickhouse_http.errors import ClickHouseError, Code, refusal
from stack.clickhouse_http.external import ExternalTable, read_form
from stack.clickhouse_http.formats import (
    DEFAULT_INPUT_FORMAT,
    DEFAULT_OUTPUT_FORMAT,
    FILE_FORMATS,
    Formats,
    check_format,
)
from stack.clickhouse_http.job import STATE_VERBS, Job, prepared, read_only_clause
from stack.clickhouse_http.marks import new_mark
from stack.clickhouse_http.native import written_as
from stack.clickhouse_http.request import AnswerOptions, QueryRequest, read_request
from stack.clickhouse_http.results import (
    Pipe,
    StreamedAnswer,
    base_headers,
    send_answer,
    summary,
)
from stack.clickhouse_http.running import KillQuery, Running, with_client_ids
from stack.clickhouse_http.sessions import IdleConnections, Sessions
from stack.clickhouse_http.settings import ServerSettings
from stack.clickhouse_http.slots import Slots
from stack.clickhouse_http.statement import Command, InsertData, Select, Statement, parse
from stack.clickhouse_http.statement_gate import StatementGate, denied

MAX_IDLE_CONNECTIONS: Final = 16
_MIN_FILE_BYTES: Final = 64 * 1024
_Result = TypeVar("_Result")


class Handler:
    """Runs queries; owns the threads, the slots and the sessions."""

    def __init__(self, settings: ServerSettings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._authenticator = Authenticator(settings)
        self._sessions = Sessions(engine, settings.max_sessions)
        self._idle = IdleConnections(MAX_IDLE_CONNECTIONS)
        with closing(engine.connect()) as connection:
            self._gate = StatementGate(connection, settings.reader_caps())
            self._formats = Formats(connection)
        self._running = Running()
        wait = settings.queue_wait_seconds
        self._slots = Slots(settings.max_concurrent_queries, wait, "query")
        self._reader_slots = Slots(settings.reader_max_concurrent_queries, wait, "reader")

    async def close(self) -> None:
        """Stop running queries, wait for the engine's threads, then end the sessions."""
        await asyncio.to_thread(self._engine.kill_all)
        for slots in (self._slots, self._reader_slots):
            await asyncio.to_thread(slots.shut_down)
        self._sessions.close()
        self._idle.close()

    def read(self, request: Request, answer: AnswerOptions) -> tuple[User, QueryRequest]:
        """Read the user and the query from the query string and headers alone.

        Raises `ClickHouseError`; nothing of the body has been read.
        """
        items = request.query_params.multi_items()
        user = self._authenticator.check(request.headers, request.query_params)
        return user, read_request(
            items, request.headers, get=request.method != "POST", answer=answer
        )

    async def run(
        self, request: Request, user: User, asked: QueryRequest, receive: Receive, send: Send
    ) -> None:
        """Read the body, run the query, send the answer.

        Raises `ClickHouseError` while nothing has been sent.
        """
        external: tuple[ExternalTable, ...] = ()
        spool = Spool(self._engine.spool_folder, self._settings.insert_memory_bytes)
        try:
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                asked, external = await read_form(
                    request, self._settings.max_statement_bytes, may_hold_tables=not user.read_only
                )
                head = asked.query.encode()
                statement = parse(head)
                if isinstance(statement, InsertData):
                    await _keep_inline(user, statement, head, spool)
                    await spool.complete()
            else:
                statement = await self._read_body(request, user, asked, spool)
            slots = self._reader_slots if user.read_only else self._slots
            kill = KillQuery.read(statement) if isinstance(statement, Command) else None
            if kill is not None:
                await self._kill_queries(asked, user, kill, slots, send)
                return
            async with slots.taken():
                if user.read_only:
                    statement = await slots.run(lambda: self._judged(statement, asked))
                with self._session(user, asked) as session:
                    job = Job(
                        asked=asked,
                        user=user,
                        slots=slots,
                        statement=statement,
                        external=external,
                        session=session,
                        # Only in the default database are unknown tables treated as files: never
                        # use it for the reader.
                        database=asked.database
                        or (self._settings.database if user.read_only else None),
                        caps=self._settings.reader_caps() if user.read_only else {},
                        mark=new_mark(user.name, asked.query_id),
                    )
                    await self._dispatch(job, spool, request, receive, send)
        finally:
            spool.close()
            for table in external:
                await table.close()

    async def _read_body(
        self, request: Request, user: User, asked: QueryRequest, spool: Spool
    ) -> Statement:
        limit = self._settings.max_statement_bytes
        most = limit if user.read_only else MAX_BLOCK_BYTES
        reader = BodyReader(
            aiter(request.stream()),
            request.headers.get("content-encoding", ""),
            self._settings.transfer_seconds,
            BlockDecoder(most, verify=asked.body.verify_blocks) if asked.body.in_blocks else None,
        )
        head = asked.query.encode()
        statement = parse(head) if head else None
        if isinstance(statement, InsertData):
            await _keep_inline(user, statement, head, spool)
        else:
            body = await reader.take(limit + 1)
            head = head + b"\n" + body if head and body else head or body
            statement = parse(head[:limit]) if len(head) > limit else parse(head)
            if not isinstance(statement, InsertData):
                if len(head) > limit:
                    raise refusal(
                        Code.QUERY_IS_TOO_LARGE, f"The statement is longer than {limit} bytes."
                    )
                return statement
            _refuse_rows(user)
            await spool.add(head[statement.data_start :])
        if statement.format_name in FILE_FORMATS:
            spool.prefer_file(_MIN_FILE_BYTES)
        async for chunk in reader.rest():
            await spool.add(chunk)
        await spool.complete()
        return statement

    def _session(
        self, user: User, asked: QueryRequest
    ) -> AbstractContextManager[Connection | None]:
        if asked.session is None or user.read_only:
            # A statement of the reader has a separate connection, so there is nothing to keep.
            return nullcontext()
        return self._sessions.use(user.name, asked.session)

    async def _dispatch(
        self, job: Job, spool: Spool, request: Request, receive: Receive, send: Send
    ) -> None:
        match job.statement:
            case InsertData() as insert:
                await self._insert(job, insert, spool, send)
            case Command() as command:
                await self._command(job, command, send)
            case Select() as select:
                await self._select(job, select, request, receive, send)

    async def _insert(self, job: Job, insert: InsertData, spool: Spool, send: Send) -> None:
        format_name = check_format(
            insert.format_name or job.asked.default_format or DEFAULT_INPUT_FORMAT
        )
        parameters = job.asked.parameters

        def work(connection: Connection) -> Counts:
            if spool.file is not None:
                file = spool.file.fileno()
                return connection.insert_file(insert, format_name, parameters, file, job.mark)
            return connection.insert(insert, format_name, parameters, spool.chunks(), job.mark)

        counts = await job.slots.run(lambda: self._with_connection(job, work))
        await self._send(job.asked, None, b"", counts, send)

    async def _command(self, job: Job, command: Command, send: Send) -> None:
        def work(connection: Connection) -> tuple[bytes, Counts]:
            answer = connection.run(command.text, job.output_format, job.asked.parameters, job.mark)
            if job.session is not None and command.verb in STATE_VERBS:
                connection.adopt_database()
            return answer

        answer, counts = await job.slots.run(lambda: self._with_connection(job, work))
        await self._send(job.asked, job.output_format if answer else None, answer, counts, send)

    async def _send(
        self,
        asked: QueryRequest,
        format_name: str | None,
        answer: bytes,
        counts: Counts,
        send: Send,
    ) -> None:
        """Send a small answer that is complete."""
        headers = base_headers(asked.query_id, self._formats.headers(format_name))
        headers["X-ClickHouse-Summary"] = summary(counts)
        await send_answer(send, 200, headers, AnswerEncoder(asked.answer).whole(answer))

    async def _kill_queries(
        self, asked: QueryRequest, user: User, kill: KillQuery, slots: Slots, send: Send
    ) -> None:
        """Stop the statements that the clients' ids name. It needs no slot: all may be taken."""
        format_name = check_format(
            kill.format_name or asked.default_format or DEFAULT_OUTPUT_FORMAT
        )
        settings = dict(asked.settings)
        if user.read_only:
            self._check_reader(asked)
            harmless.check_format(format_name)
        if settings.pop("readonly", "0") != "0" or user.read_only:
            kill = kill.of_user(user.name)

        def work() -> tuple[bytes, Counts]:
            with closing(self._engine.connect()) as connection:
                connection.prepare(None, settings)
                answer = connection.run(kill.found, format_name, asked.parameters)
                if kill.mode != "TEST":
                    connection.run(kill.statement, parameters=asked.parameters)
                return answer

        answer, counts = await slots.run_beside(work)
        await self._send(asked, format_name, answer, counts, send)

    async def _select(
        self, job: Job, select: Select, request: Request, receive: Receive, send: Send
    ) -> None:
        asked, format_name = job.asked, job.output_format
        if not job.user.read_only:
            select = with_client_ids(select)
        pipe = Pipe()

        def work(connection: Connection) -> Counts:
            extra = read_only_clause(job)
            version = asked.answer.protocol_version
            with written_as(version, format_name, pipe.write_fd) as write_fd:
                return connection.select(
                    select, format_name, asked.parameters, write_fd, job.mark, extra
                )

        def work_and_close() -> Counts:
            try:
                return self._with_connection(job, work)
            finally:
                pipe.close_write()

        query = asyncio.ensure_future(job.slots.run(work_and_close))
        buffer = Spool(self._engine.spool_folder, self._settings.result_memory_bytes)
        answer = StreamedAnswer(
            pipe=pipe,
            query=query,
            headers=base_headers(asked.query_id, self._formats.headers(format_name)),
            buffer=buffer,
            buffer_bytes=self._buffer_bytes(job),
            encoder=AnswerEncoder(asked.answer, request.headers.get("accept-encoding", "")),
            progress=asked.answer.progress,
            on_disconnect=lambda: self._kill(job.mark),
            version=self._engine.version,
            transfer_seconds=self._settings.transfer_seconds,
        )
        try:
            await answer(receive, send)
        finally:
            await self._finish(query, pipe, job.mark)
            buffer.close()

    async def _finish(self, query: "asyncio.Future[Counts]", pipe: Pipe, mark: str) -> None:
        """Release the engine: stop a statement that nobody reads, and drain its pipe."""
        try:
            if not query.done():
                self._kill(mark)
                while await pipe.read():
                    pass
            with suppress(ClickHouseError):
                await query
        finally:
            pipe.close_read()

    def _judged(self, statement: Statement, asked: QueryRequest) -> Statement:
        """Return the reader's statement in the form in which it may run; in a worker thread."""
        self._check_reader(asked)
        # Never a connection that serves the reader: its statement is only spelled here.
        connection = self._idle.take(None, {}) or self._engine.connect()
        try:
            judged = self._gate.judge(connection, statement, asked.parameters)
            harmless.check_format(
                judged.format_name or asked.default_format or DEFAULT_OUTPUT_FORMAT
            )
        except BaseException:
            connection.close()
            raise
        self._idle.give_back(connection)
        return judged

    def _check_reader(self, asked: QueryRequest) -> None:
        """Raise for what the reader may not ask for beside its statement."""
        if asked.roles:
            raise refusal(Code.ACCESS_DENIED, "Not enough privileges: the reader has one role.")
        harmless.check_settings(
            ((name, value) for name, value in asked.settings.items() if name != "readonly"),
            self._settings.reader_caps(),
        )

    def _buffer_bytes(self, job: Job) -> int | None:
        """How much of an answer is kept before its first byte leaves; None for all of it."""
        most = self._settings.reader_buffer_bytes if job.user.read_only else None
        if job.asked.answer.wait_end_of_query:
            return most
        wanted = max(self._settings.response_buffer_bytes, job.asked.answer.buffer_bytes)
        return wanted if most is None else min(wanted, most)

    def _kill(self, mark: str) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._engine.kill, mark)

    def _with_connection(self, job: Job, work: Callable[[Connection], _Result]) -> _Result:
        """Run `work` on the right connection, prepared for this request; in a worker thread."""
        with self._running.entered(job.user.name, job.asked.query_id):
            if not job.writes:
                return self._on_connection(job, work)
            self._engine.ensure_space()
            result = self._on_connection(job, work)
            self._engine.ensure_space(after_writing=True)
            return result

    def _on_connection(self, job: Job, work: Callable[[Connection], _Result]) -> _Result:
        if job.session is not None and job.keeps_state:
            return prepared(job.session, job, keep=True, work=work)
        if job.leaves_nothing:
            wanted = job.database, job.settings
            connection = self._idle.take(*wanted) or self._engine.connect()
            try:
                result = prepared(connection, job, keep=False, work=work)
            except BaseException:
                connection.close()
                raise
            self._idle.give_back(connection)
            return result
        with closing(self._engine.connect()) as connection:
            return prepared(connection, job, keep=False, work=work)


async def _keep_inline(user: User, insert: InsertData, head: bytes, spool: Spool) -> None:
    """Keep the rows that stand in the statement itself."""
    _refuse_rows(user)
    inline = head[insert.data_start :]
    if inline.strip():
        await spool.add(inline + b"\n")


def _refuse_rows(user: User) -> None:
    """Before the reader's rows are received, which would fill the server's disk."""
    if user.read_only:
        raise denied("write")
