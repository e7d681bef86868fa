"""RedisStore: entries on a Redis or Valkey server, which may be slow, full, or away."""

from __future__ import annotations

import queue
import re
import secrets
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from visioncache.stores.base import StoreError, name_of, scope_digest
from visioncache.stores.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visioncache.keys import Key

T = TypeVar("T")

_CHUNK = 8 << 20
"""Bytes of a value that travel at once: a server takes 512 MiB, a time-out should allow for less."""
_MAX_LATE = 8
"""Answers that may be overdue at once before nothing more is asked."""
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_BUILDING_MS = 60_000
"""How long a value that is being built, chunk by chunk, lives when its builder dies."""
_OURS = {"decode_responses", "encoding", "encoding_errors", "protocol"}
"""Options of a URL that are passed over: what is stored is bytes, and they are spoken about in RESP2."""
_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}


class RedisStore:
    """Entries on a server that others may share; it decides what to evict (`maxmemory-policy`).

    Each entry is one hash, so that it is evicted and replaced as a whole: its `size`, and the
    chunks `0`, `1`, ... Its name is `prefix` and digests. The commands are those of Redis 4 and every Valkey,
    spoken in RESP2.

    A `get` takes no longer than `timeout`, whatever the server or the network does. After a few
    faults in a row a breaker stops asking: until it tries again, a `get` is None and everything
    else a StoreError, at once.

    Args:
        url: `redis://[user:password@]host:port/db`, `rediss://` for TLS (`?ssl_ca_certs=file`
            names an authority), `unix://path`; `valkey://` and `valkeys://` are the same. The
            password is never shown, but a pickle holds it: a worker process connects for itself.
        ttl: seconds that an entry lives after it was put; None for ever.
        timeout: seconds: of a `get` as a whole, of each chunk of a `put`.
        prefix: what the names of entries start with; another prefix is another store.
        clock: seconds, for the breaker.

    Raises:
        ValueError: not such a URL, or a number that is not positive, or an empty prefix.
        ImportError: the `redis` client is not installed.
    """

    def __init__(
        self,
        url: str,
        ttl: float | None = None,
        timeout: float = 0.2,
        *,
        prefix: str = "visioncache:",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, seconds in (("ttl", ttl), ("timeout", timeout)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name}={seconds!r}: seconds, more than 0")
        if not prefix:
            raise ValueError("prefix='': entries need a name of their own; the default is 'visioncache:'")
        self.ttl, self.timeout, self.prefix = ttl, timeout, prefix
        self._url, self._clock = url, clock
        self.breaker = Breaker(clock=clock)
        self._client, self._secret = _connect(url, timeout)
        self._late = 0
        self._lock = threading.Lock()
        from redis.exceptions import RedisError, ResponseError

        self._errors, self._answer = (RedisError, OSError), ResponseError

    def __reduce__(self) -> tuple[Any, ...]:
        named: dict[str, Any] = {"prefix": self.prefix, "clock": self._clock}
        return partial(type(self), self._url, self.ttl, self.timeout, **named), ()

    def get(self, key: Key) -> bytes | None:
        """The bytes of an entry, or None; see `Store`."""
        if not self.breaker.allows():
            return None
        fields = self._asked(lambda: self._in_time(lambda: self._client.hgetall(self._name(key))))
        chunks = [fields.get(str(index).encode(), b"") for index in range(len(fields) - 1)]
        if not fields or fields.get(b"size") != str(sum(map(len, chunks))).encode():
            return None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def put(self, key: Key, data: bytes) -> None:
        """Store bytes; see `Store`. A server without room is a StoreError."""
        self._ask(lambda: self._write(self._name(key), memoryview(data)))

    def delete(self, key: Key) -> bool:
        """Remove an entry; see `Store`."""
        return bool(self._ask(lambda: self._client.unlink(self._name(key))))

    def clear(self, scope: str | None = None) -> None:
        """Remove every entry with this store's prefix, whoever put it, or those of a scope."""

        def unlink() -> None:
            for names in self._scan("*" if scope is None else f"*-{scope_digest(scope)}"):
                self._client.unlink(*names)

        self._ask(unlink)

    def __len__(self) -> int:
        return self._ask(lambda: sum(map(len, self._scan("*"))))

    def volume(self) -> int:
        """Bytes that the entries hold; what the server needs besides is its own affair."""

        def total() -> int:
            size = 0
            for names in self._scan("*"):
                with self._client.pipeline(transaction=False) as pipeline:
                    for name in names:
                        pipeline.hget(name, "size")
                    size += sum(int(held or 0) for held in pipeline.execute())
            return size

        return self._ask(total)

    def close(self) -> None:
        """Close the connections; another call opens new ones."""
        self._client.close()

    def __repr__(self) -> str:
        return f"RedisStore({_shown(self._client)!r}, prefix={self.prefix!r})"

    # Commands -------------------------------------------------------------------------------------

    def _name(self, key: Key) -> str:
        return self.prefix + name_of(key)

    def _write(self, name: str, data: memoryview) -> None:
        chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)] or [data]
        lifetime = None if self.ttl is None else int(self.ttl * 1000) or 1
        # Built under another name, then renamed: an entry is whole or absent.
        unfinished = f"{self.prefix}unfinished:{secrets.token_hex(8)}"
        try:
            for index, chunk in enumerate(chunks):
                with self._client.pipeline(transaction=True) as pipeline:
                    pipeline.hset(unfinished, str(index), chunk)
                    pipeline.pexpire(unfinished, _BUILDING_MS)
                    if index == len(chunks) - 1:
                        pipeline.hset(unfinished, "size", str(len(data)))
                        pipeline.rename(unfinished, name)
                        if lifetime is None:
                            pipeline.persist(name)
                        else:
                            pipeline.pexpire(name, lifetime)
                    pipeline.execute()
        except self._answer:
            self._client.unlink(unfinished)  # a server that says no still hears this
            raise

    def _scan(self, pattern: str) -> Iterator[list[bytes]]:
        """The names of entries, some at a time."""
        prefix = re.sub(r"([*?\[\]\\])", r"\\\1", self.prefix)
        cursor = 0
        while True:
            cursor, names = self._client.scan(cursor, match=prefix + pattern, count=1000)
            start = len(self.prefix.encode())
            entries = [name for name in names if _NAME.fullmatch(name[start:].decode("latin-1"))]
            if entries:
                yield entries
            if not cursor:
                return

    # Faults ---------------------------------------------------------------------------------------

    def _ask(self, call: Callable[[], T]) -> T:
        if not self.breaker.allows():
            raise StoreError(f"not asked: it failed, and is tried again in {self.breaker.remaining():.1f} s")
        return self._asked(call)

    def _asked(self, call: Callable[[], T]) -> T:
        """Return what a call returns; raise any fault as a StoreError, and tell the breaker either way."""
        try:
            value = call()
        except self._answer as error:
            self.breaker.succeeded()  # it said no, so it is there
            raise StoreError(self._told(error)) from None
        except self._errors as error:
            self.breaker.failed()
            raise StoreError(self._told(error)) from None
        self.breaker.succeeded()
        return value

    def _told(self, error: Exception) -> str:
        # A pipeline quotes the command, which says nothing here.
        text = f"{type(error).__name__}: {str(error).rpartition(' of pipeline caused error: ')[2]}"
        return text.replace(self._secret, "***") if self._secret else text

    def _in_time(self, call: Callable[[], T]) -> T:
        """Call a function and return its result; TimeoutError when there is none by `timeout`.

        A socket's own time-out starts anew with every byte, and looking up a host has none; so the
        call is made on a thread that need not be waited for.
        """
        outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        state = {"done": False, "late": False}

        def work() -> None:
            try:
                outcome.put((call(), None))
            except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
                outcome.put((None, error))
            with self._lock:
                state["done"] = True
                self._late -= state["late"]

        with self._lock:
            if self._late >= _MAX_LATE:
                raise TimeoutError(f"{self._late} answers are overdue")
        threading.Thread(target=work, daemon=True).start()
        with suppress(queue.Empty):
            return _unwrapped(outcome.get(timeout=self.timeout))  # type: ignore[no-any-return]
        with self._lock:
            state["late"] = not state["done"]
            self._late += state["late"]
        raise TimeoutError(f"no answer within {self.timeout:g} s")


def _unwrapped(outcome: tuple[Any, BaseException | None]) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value


def _connect(url: str, timeout: float) -> tuple[Any, str]:
    """A client, and the password that must not be shown."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ImportError("RedisStore needs the redis client: pip install 'visioncache[redis]'") from error
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    query = urlencode([(name, value) for name, value in parse_qsl(query) if name not in _OURS])
    try:
        if scheme != "unix" and (database := urlsplit(url).path.strip("/")):
            int(database)  # the client would take a name for database 0
        client = redis.Redis.from_url(
            f"{_SCHEMES.get(scheme, scheme)}://{rest}{query and '?'}{query}",
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_read_size=1 << 20,
            # A server that was restarted has closed its connections: that much is tried again.
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
            protocol=2,
        )
    except ValueError:
        # The cause is left out, because it may quote the URL, and with it the password.
        raise ValueError(
            f"{scheme}://... is not the URL of a server; it looks like redis://user:password@host:6379/0"
        ) from None
    return client, client.connection_pool.connection_kwargs.get("password") or ""


def _shown(client: Any) -> str:
    """Where a client connects to, without who as."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}?db={options.get('db', 0)}"
    scheme = "rediss" if "SSL" in client.connection_pool.connection_class.__name__ else "redis"
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"
