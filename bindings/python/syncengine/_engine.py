"""The engine: everything that is called on it, and what calls back."""
from __future__ import annotations

import atexit
import dataclasses
import enum
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Union

from ._item import ContentType, Item
from ._library import BackpressureError, Error, InvalidError, Result, StateError, check, error_of, ffi, free, lib, text_of

Buffer = Union[bytes, bytearray, memoryview]
PAGE = 1000  # items that a scan holds at a time

log = logging.getLogger('syncengine')
LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class Ack(enum.IntEnum):
    DEFAULT = 0
    MEMORY = 1
    WAL = 2
    L3 = 3


class Route(enum.IntFlag):
    ALL = 0
    L2 = 1
    L3 = 2


class Outcome(enum.IntEnum):
    """Where a write ended; the header says what each of them means."""

    HOME = 0
    WAL = 1
    SUPERSEDED = 2
    DEAD = 3
    OPEN = 4


@dataclasses.dataclass(frozen=True)
class Delivery:
    id: str
    version: int
    outcome: Outcome
    deleted: bool
    newest: int
    error_code: int
    error: str


@dataclasses.dataclass(frozen=True)
class Put:
    """One write of submit_many, or the options of one."""

    id: str
    content: Buffer | str
    ack: Ack = Ack.DEFAULT
    route: Route = Route.ALL
    state: str | None = None
    content_type: ContentType = ContentType.AUTO
    cache_ttl_ms: int = 0
    expires_at_ms: int = 0
    delivery: Callable[[Delivery], None] | None = None
    delivery_ack: Ack = Ack.DEFAULT


@dataclasses.dataclass(frozen=True)
class Written:
    result: Result
    version: int


class BatchError(Error):
    """A batch was refused as a whole. `results` says which item was to blame; the others were not tried."""

    def __init__(self, cause: Error, results: list[Result]) -> None:
        super().__init__(str(cause), cause.result)
        self.results = results


@dataclasses.dataclass(frozen=True)
class Health:
    phase: str
    healthy: bool
    ready: bool
    accepting_writes: bool
    pressure_level: str
    pressure: float
    l1_items: int
    l1_bytes: int
    queue_items: int
    queue_bytes: int
    wal_items: int
    dead_letters: int
    redis_circuit: str
    sql_circuit: str
    redis_up: bool | None
    sql_up: bool | None
    filter_trusted: bool
    filter_doubt: str | None
    filter_items: int
    filter_bytes: int
    oldest_dirty_ms: int
    wal_failed: bool


@ffi.callback('se_log_event_fn')
def _on_log(_arg: Any, event: Any) -> None:
    fields = {text_of(event.fields[i].key): text_of(event.fields[i].value) for i in range(event.n_fields)}
    about = {'engine': text_of(event.engine), 'component': text_of(event.component), 'event': text_of(event.event),
             'fields': fields}
    log.log(LEVELS[event.level], '%s', text_of(event.message), extra={'syncengine': about})


class _Ticket:
    """A function that is still to be told: alive from the write to the call."""

    def __init__(self, waiting: set[_Ticket], fn: Callable[[Delivery], None]) -> None:
        self.waiting, self.fn = waiting, fn
        self.handle: Any = ffi.new_handle(self)
        waiting.add(self)


@ffi.callback('se_delivery_fn')
def _on_delivery(arg: Any, d: Any) -> None:
    ticket: _Ticket = ffi.from_handle(arg)
    ticket.waiting.discard(ticket)
    ticket.fn(Delivery(text_of(d.id), d.version, Outcome(d.outcome), bool(d.deleted), d.newest, d.error_code, text_of(d.error)))


def _bytes_of(content: Buffer | str) -> Any:
    return ffi.from_buffer(content.encode() if isinstance(content, str) else content)


def _text(value: object) -> bytes:
    if isinstance(value, bool):
        return b'true' if value else b'false'
    return str(value).encode()


def _id(id: str) -> bytes:
    name = id.encode()
    if b'\0' in name:
        raise InvalidError('an id has no NUL')  # C would see a shorter one
    return name


class _Options:
    """se_submit_options of one write, and what must stay alive beside them."""

    def __init__(self, put: Put, waiting: set[_Ticket]) -> None:
        self.c: Any = ffi.new('se_submit_options *')
        lib.se_submit_options_init_sized(self.c, ffi.sizeof('se_submit_options'))
        self.state = ffi.new('char[]', put.state.encode()) if put.state is not None else ffi.NULL
        self.ticket = _Ticket(waiting, put.delivery) if put.delivery else None
        c = self.c
        c.ack, c.route, c.content_type = int(put.ack), int(put.route), int(put.content_type)
        c.cache_ttl_ms, c.expires_at_ms, c.state = put.cache_ttl_ms, put.expires_at_ms, self.state
        if self.ticket:
            c.delivery, c.delivery_arg, c.delivery_ack = _on_delivery, self.ticket.handle, int(put.delivery_ack)

    def refused(self) -> None:
        """The write was: nobody will be told."""
        if self.ticket:
            self.ticket.waiting.discard(self.ticket)


@ffi.callback('se_visit_fn')
def _on_item(arg: Any, item: Any) -> bool:
    ffi.from_handle(arg).append(Item(lib.se_item_retain(item)))
    return True


def _up(state: int) -> bool | None:
    return None if state < 0 else state > 0


class Engine:
    """An engine. Options are the library's own, by name: Engine(sql_url='sqlite:/tmp/a.db', l1_max_bytes='64MiB').

    from_env: take SYNC_ENGINE_<NAME> of the environment first. Log events go to the logger "syncengine". Methods may be called from any thread.
    """

    def __init__(self, *, from_env: bool = False, **options: object) -> None:
        config: Any = ffi.new('se_config *')
        engine: Any = ffi.new('se_engine **')
        lib.se_config_init_sized(config, ffi.sizeof('se_config'))
        self._engine: Any = None
        self._waiting: set[_Ticket] = set()
        try:
            if from_env:
                check(lib.se_config_from_env(config))
            for name, value in options.items():
                if value is not None:
                    check(lib.se_config_set(config, name.encode(), _text(value)))
            config.log_event_fn = _on_log
            self._config = self._config_text(config)
            check(lib.se_open(config, engine))
        finally:
            lib.se_config_clear(config)
        self._engine = engine[0]
        _open.add(self)

    # ---- life ----

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def shutdown(self, timeout: float = 30.0) -> Result:
        """Refuses new calls, flushes, and answers all deliveries. Other threads' calls return StateError."""
        return self._check(lib.se_shutdown(self._open_engine(), int(timeout * 1000)))

    def close(self, timeout: float = 30.0) -> None:
        """Shuts down and frees the engine, once; no other thread may be in a call. Raises if something is safe nowhere."""
        if self._engine is None:
            return
        result = lib.se_close(self._engine, int(timeout * 1000))
        if result == lib.SE_ERR_STATE:  # inside a delivery, or in a forked child: it is still there
            raise error_of(result)
        self._engine = None
        _open.discard(self)
        check(result)

    @property
    def closed(self) -> bool:
        return self._engine is None

    @property
    def config(self) -> str:
        """All options as they were when it was opened, without secrets."""
        return self._config

    # ---- writing ----

    def submit(self, id: str, content: Buffer | str, **options: Any) -> Result:
        """Writes one item. Options are the fields of Put. OK, or PENDING: accepted, and the ack is not confirmed."""
        engine = self._open_engine()
        put = Put(id, content, **options)
        data, name = _bytes_of(put.content), _id(id)
        chosen = _Options(put, self._waiting)
        result = lib.se_submit(engine, name, data, len(data), chosen.c)
        if result < 0:
            chosen.refused()
        return self._check(result)

    def delete(self, id: str, **options: Any) -> Result:
        engine = self._open_engine()
        name = _id(id)
        chosen = _Options(Put(id, b'', **options), self._waiting)
        result = lib.se_delete(engine, name, chosen.c)
        if result < 0:
            chosen.refused()
        return self._check(result)

    def submit_many(self, puts: Iterable[Put | tuple[str, Buffer | str]]) -> list[Written]:
        """Writes all or nothing: BatchError says which item was refused."""
        engine = self._open_engine()
        wanted = [put if isinstance(put, Put) else Put(*put) for put in puts]
        kept: list[Any] = [(ffi.new('char[]', _id(put.id)), _bytes_of(put.content)) for put in wanted]
        chosen = [_Options(put, self._waiting) for put in wanted]
        c: Any = ffi.new('se_put[]', len(wanted))
        for at, (name, data) in enumerate(kept):
            c[at].id, c[at].content, c[at].len, c[at].options = name, data, len(data), chosen[at].c
        result = lib.se_submit_many(engine, c, len(wanted), ffi.NULL)
        if result < 0:
            error = self._error(result)
            for options in chosen:
                options.refused()
            raise BatchError(error, [Result(c[at].result) for at in range(len(wanted))]) from error
        return [Written(Result(c[at].result), c[at].version) for at in range(len(wanted))]

    def flush(self, timeout: float = 30.0) -> Result:
        """OK: everything accepted before is in its home tier. PENDING: some of it is in the WAL so far."""
        return self._check(lib.se_flush(self._open_engine(), int(timeout * 1000)))

    # ---- reading ----

    def get(self, id: str) -> Item | None:
        out: Any = ffi.new('se_item **')
        found = self._check(lib.se_get(self._open_engine(), _id(id), out))
        return Item(out[0]) if found == Result.OK else None

    def get_many(self, ids: Sequence[str]) -> list[Item | None]:
        """One round trip per tier, not per id. An outage for any of them is an error of the whole."""
        engine = self._open_engine()
        names = [ffi.new('char[]', _id(id)) for id in ids]
        out: Any = ffi.new('se_item *[]', max(len(names), 1))
        self._check(lib.se_get_many(engine, ffi.new('char *[]', names), len(names), out, ffi.NULL))
        return [Item(out[at]) if out[at] else None for at in range(len(names))]

    def contains(self, id: str) -> bool:
        found: Any = ffi.new('bool *')
        self._check(lib.se_contains(self._open_engine(), _id(id), found))
        return bool(found[0])

    __contains__ = contains

    def scan(self, prefix: str = '', after: str | None = None, limit: int = 0) -> Iterator[Item]:
        """Items whose id begins with prefix, in the order of ids' bytes; at most limit, 0: all. Read in pages, so other writes may come between."""
        left = limit or -1
        while left != 0:
            page: list[Item] = []
            handle = ffi.new_handle(page)
            n = PAGE if left < 0 else min(PAGE, left)
            engine, begins = self._open_engine(), _id(prefix)
            if after is None:
                self._check(lib.se_scan_prefix(engine, begins, n, _on_item, handle))
            else:
                self._check(lib.se_scan_prefix_after(engine, begins, _id(after), n, _on_item, handle))
            yield from page
            if len(page) < n:
                return
            after = page[-1].id
            left = left if left < 0 else left - len(page)

    # ---- operation ----

    def health(self) -> Health:
        h: Any = ffi.new('se_health *')
        self._check(lib.se_health_check(self._open_engine(), h))
        return Health(
            phase=text_of(lib.se_phase_name(h.phase)), healthy=bool(h.healthy), ready=bool(h.ready),
            accepting_writes=bool(h.accepting_writes), pressure_level=text_of(lib.se_pressure_name(h.pressure_level)),
            pressure=h.pressure, l1_items=h.l1_items, l1_bytes=h.l1_bytes, queue_items=h.queue_items, queue_bytes=h.queue_bytes,
            wal_items=h.wal_items, dead_letters=h.dead_letters, redis_circuit=text_of(lib.se_circuit_name(h.redis_circuit)),
            sql_circuit=text_of(lib.se_circuit_name(h.sql_circuit)), redis_up=_up(h.redis_up), sql_up=_up(h.sql_up),
            filter_trusted=h.filter_trust == lib.SE_TRUST_TRUSTED, filter_doubt=text_of(h.filter_doubt) or None,
            filter_items=h.filter_items, filter_bytes=h.filter_bytes, oldest_dirty_ms=h.oldest_dirty_ms,
            wal_failed=bool(h.wal_failed))

    def metrics(self) -> str:
        """In Prometheus' text format."""
        text: Any = ffi.new('char **')
        length: Any = ffi.new('size_t *')
        self._check(lib.se_metrics_text(self._open_engine(), text, length))
        return _taken(text[0], length[0])

    # ---- inside ----

    def _open_engine(self) -> Any:
        if self._engine is None:
            raise StateError('the engine is closed')
        return self._engine

    def _error(self, result: int) -> Error:
        error = error_of(result)
        if isinstance(error, BackpressureError):
            error.retry_after = lib.se_retry_after_ms(self._engine) / 1000
        return error

    def _check(self, result: int) -> Result:
        if result < 0:
            raise self._error(result)
        return Result(result)

    @staticmethod
    def _config_text(config: Any) -> str:
        text: Any = ffi.new('char **')
        length: Any = ffi.new('size_t *')
        check(lib.se_config_text(config, text, length))
        return _taken(text[0], length[0])


def _taken(text: Any, length: int) -> str:
    try:
        return str(bytes(ffi.buffer(text, length)).decode('utf-8', 'replace'))
    finally:
        free(text)


_open: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    """Threads of the library must not call into an interpreter that has ended."""
    for engine in list(_open):
        try:
            engine.close()
        except Error as error:
            log.error('at exit: %s', error)


atexit.register(_close_all)
