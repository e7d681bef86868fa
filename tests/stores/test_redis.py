"""A server that is shared, secured, slow, full, paused, killed and restarted; on Redis and Valkey."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest

from visioncache import Key, VisionFeatureCache
from visioncache.stores import RedisStore, StoreError, StoreWarning, open_store
from visioncache.stores.base import name_of
from visioncache.stores.breaker import Breaker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

A, B = Key.from_source("a.jpg"), Key.from_source("b.jpg")
TIMEOUT = 0.2
GRACE = 0.3
"""Seconds that a busy machine may take to wake a thread; the bound is `TIMEOUT`."""


def features(size: int = 1000) -> mx.array:
    array = mx.random.normal((size,)).astype(mx.bfloat16)
    mx.eval(array)
    return array


@pytest.fixture(params=["redis", "valkey"])
def mortal(request: pytest.FixtureRequest, start_server: Callable[..., Any]) -> Iterator[Any]:
    """A server of the test's own, to do things to."""
    server = start_server(request.param)
    yield server
    server.kill()


@pytest.fixture
def store(server: Any) -> Iterator[RedisStore]:
    store = RedisStore(server.url, timeout=20, prefix="tests:")
    store.clear()
    yield store
    store.clear()
    store.close()


def raw(store: RedisStore, *command: Any) -> Any:
    return store._client.execute_command(*command)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# What is on the server -------------------------------------------------------------------------------


def test_names_on_the_server_hold_no_text_of_a_user(store: RedisStore) -> None:
    key = Key.from_source("secret.jpg").scoped("secret-model")
    store.put(key, b"x")
    assert raw(store, "KEYS", "*") == [f"tests:{name_of(key)}".encode()]
    assert "secret" not in name_of(key)


def test_nothing_half_built_is_left_on_the_server(store: RedisStore) -> None:
    store.put(A, bytes(20_000_000))
    store.put(A, b"small")
    assert len(raw(store, "KEYS", "*")) == 1


def test_large_values_travel_in_chunks(store: RedisStore) -> None:
    data = os.urandom(20_000_000)
    store.put(A, data)
    fields = raw(store, "HKEYS", f"tests:{name_of(A)}")
    assert sorted(fields) == [b"0", b"1", b"2", b"size"]
    assert store.get(A) == data


@pytest.mark.parametrize(
    "option",
    [
        "decode_responses=True",
        "protocol=3",
        "encoding=utf-16",
        "decode_responses=yes&health_check_interval=9",
    ],
)
def test_a_url_s_options_that_would_make_text_of_bytes_are_passed_over(server: Any, option: str) -> None:
    joint = "&" if "?" in server.url else "?"
    with closing(RedisStore(f"{server.url}{joint}{option}", prefix="options:", timeout=20)) as store:
        data = bytes(range(256)) * 99
        store.put(A, data)
        assert (store.get(A), len(store), store.volume()) == (data, 1, len(data))
        store.clear()


def test_a_pickled_store_connects_for_itself(server: Any) -> None:
    with closing(RedisStore(server.url, ttl=100, prefix="pickled:", timeout=20)) as store:
        store.put(A, b"x")
        pickled = pickle.loads(pickle.dumps(store))  # noqa: S301  # our own
        for copied in (pickled, copy.copy(store), copy.deepcopy(store)):
            assert (copied.ttl, copied.timeout, repr(copied)) == (100, 20, repr(store))
            assert copied.get(A) == b"x"
            copied.close()
        store.clear()


def test_entries_live_as_long_as_they_are_told_to(server: Any) -> None:
    with closing(RedisStore(server.url, ttl=100, prefix="ttl:", timeout=20)) as store:
        store.put(A, b"x")
        assert 0 < raw(store, "PTTL", f"ttl:{name_of(A)}") <= 100_000
        forever = RedisStore(server.url, prefix="ttl:", timeout=20)
        forever.put(A, b"y")
        assert raw(store, "PTTL", f"ttl:{name_of(A)}") == -1
        store.clear()


def test_prefixes_keep_stores_apart_whatever_they_look_like(server: Any) -> None:
    stores = [RedisStore(server.url, prefix=prefix, timeout=20) for prefix in ("a*:", "ab:", "a[b]:", "a:")]
    for index, store in enumerate(stores):
        store.clear()
        store.put(A, str(index).encode())
    stores[0].clear()
    assert stores[0].get(A) is None
    assert [store.get(A) for store in stores[1:]] == [b"1", b"2", b"3"]
    for store in stores:
        store.clear()
        assert len(store) == 0


def test_an_entry_that_lost_a_part_is_absent(store: RedisStore) -> None:
    store.put(A, os.urandom(20_000_000))
    raw(store, "HDEL", f"tests:{name_of(A)}", "1")
    assert store.get(A) is None


def test_a_foreign_value_under_our_name_is_an_error_and_not_a_dead_server(store: RedisStore) -> None:
    raw(store, "SET", f"tests:{name_of(A)}", "something else")
    for _ in range(5):
        with pytest.raises(StoreError, match="WRONGTYPE"):
            store.get(A)
    assert not store.breaker.is_open
    store.put(A, b"x")
    assert store.get(A) == b"x"


def test_the_server_says_what_it_is(server: Any, tally: Counter[str]) -> None:
    """Valkey calls itself another name, and answers our commands the same way."""
    info = RedisStore(server.url, timeout=20)._client.info("server")
    name = "valkey" if "valkey" in server.binary else "redis"
    assert info.get("server_name", "redis") == name
    tally[f"server tested against: {name} {info.get('valkey_version') or info['redis_version']}"] += 1


# Where, and who as -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@host:port/0",
        "redis://:hunter2@[bad/0",
        "redis://:hunter2@host/abc",
        "valkeys://:hunter2@host/1.5",
        "redis://:hunter2@host/0?socket_timeout=hunter2",
    ],
)
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="is not the URL of a server") as caught:
        open_store(url)
    assert "hunter2" not in "".join(map(str, (caught.value, caught.value.__cause__)))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("options", "what"),
    [({"ttl": 0}, "ttl=0"), ({"timeout": -1}, "timeout=-1"), ({"prefix": ""}, "prefix=''")],
)
def test_options_that_can_not_be_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        open_store("redis://localhost", **options)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_password_opens_the_server_and_is_never_shown(
    kind: str,
    start_server: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = start_server(kind, "--requirepass", "hunter2")
    caplog.set_level(logging.DEBUG)
    right = open_store(f"valkey://:hunter2@127.0.0.1:{server.port}/0", timeout=20)
    right.put(A, b"x")
    assert right.get(A) == b"x"
    shown = [repr(right), str(vars(right).get("url", ""))]
    for password in ("hunter3", ""):
        wrong = open_store(f"redis://:{password}@127.0.0.1:{server.port}/0", timeout=20)
        with pytest.raises(StoreError) as caught:
            wrong.put(A, b"y")
        shown += [str(caught.value), repr(wrong)]
    cache = VisionFeatureCache(store=f"redis://:hunter3@127.0.0.1:{server.port}/0")
    with pytest.warns(StoreWarning) as warned:
        cache.get("a.jpg")
    shown += [str(w.message) for w in warned] + [event.label for event in cache.events] + [repr(cache)]
    shown += [caplog.text, *capfd.readouterr()]
    assert not any("hunter" in text for text in shown)
    server.kill()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_user_needs_these_commands_and_keys_and_no_others(
    kind: str, start_server: Callable[..., Any]
) -> None:
    server = start_server(kind)
    commands = ["hgetall", "hset", "hget", "pexpire", "persist", "rename", "unlink", "scan", "multi", "exec"]
    admin = RedisStore(server.url, timeout=20)
    rights = ["on", ">hunter2", "~visioncache:*", *(f"+{command}" for command in commands)]
    raw(admin, "ACL", "SETUSER", "cache", "reset", *rights)
    store = open_store(f"redis://cache:hunter2@127.0.0.1:{server.port}/0", timeout=20, ttl=100)
    for size in (10, 20_000_000):
        store.put(A, bytes(size))
        assert store.get(A) == bytes(size)
    assert (len(store), store.volume()) == (1, 20_000_000)
    assert store.delete(A)
    store.clear()
    server.kill()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.fail("openssl is not installed; it makes the certificate that TLS is tested with")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
    )
    return folder


def test_tls_is_spoken_and_the_certificate_checked(
    start_server: Callable[..., Any], certificates: Path, tally: Counter[str]
) -> None:
    options = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"]
    options = [str(certificates / option) if option.endswith(".pem") else option for option in options]
    server = start_server("redis", *options, "--tls-auth-clients", "no")
    port = server.port
    trusting = open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates / 'cert.pem'}", timeout=20)
    trusting.put(A, b"x" * 1_000_000)
    assert trusting.get(A) == b"x" * 1_000_000
    assert "rediss://" in repr(trusting)
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        open_store(f"rediss://127.0.0.1:{port}/0", timeout=20).put(A, b"x")
    with pytest.raises(StoreError):
        open_store(f"redis://127.0.0.1:{port}/0", timeout=2).put(A, b"x")
    server.kill()
    tally["faults of a server: not trusted"] += 2


# The breaker -------------------------------------------------------------------------------------------


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_try_after_each_pause() -> None:
    clock = Clock()
    breaker = Breaker(failures=3, pause=1, longest=4, clock=clock)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    pauses = []
    for _ in range(5):
        assert not breaker.allows()
        pauses.append(breaker.remaining())
        clock.now += breaker.remaining()
        assert breaker.allows()
        assert not breaker.allows()  # one at a time
        breaker.failed()
    assert pauses == [1, 2, 4, 4, 4]
    clock.now += breaker.remaining()
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


def test_a_trial_that_never_reports_back_does_not_close_the_door_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause=1, clock=clock)
    breaker.failed()
    clock.now = 1
    assert breaker.allows()
    clock.now = 2
    assert breaker.allows()


# Faults ------------------------------------------------------------------------------------------------


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = call()
    return value, time.perf_counter() - start


def cache_of(server: Any, clock: Clock, **options: Any) -> VisionFeatureCache:
    """A cache of one entry, so that almost everything has to come from the server."""
    return VisionFeatureCache(
        max_size=1, store=RedisStore(server.url, clock=clock, timeout=TIMEOUT, **options)
    )


def filled(cache: VisionFeatureCache) -> mx.array:
    value = features()
    cache.put("a.jpg", value)
    cache.put("b.jpg", features())
    assert cache.flush(60)
    assert cache.info().store.writes == 2
    return value


def assert_keeps_answering(cache: VisionFeatureCache, tally: Counter[str], what: str) -> None:
    """Every get is a miss within the time-out, and soon none waits at all; puts stay in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)
        for number in range(10):
            found, seconds = timed(lambda n=number: cache.get(f"absent {n}"))
            assert found is None
            assert seconds < (TIMEOUT + GRACE if number < 3 else 0.1), f"{what}: {seconds:.3f} s"
            tally[f"faults of a server: {what}"] += 1
        value = features()
        assert cache.put("c.jpg", value)
        assert cache.get("c.jpg") is value
        cache.flush(60)


def test_a_server_that_is_killed_and_restarted(mortal: Any, tally: Counter[str]) -> None:
    clock = Clock()
    cache = cache_of(mortal, clock)
    filled(cache)
    mortal.kill()
    assert_keeps_answering(cache, tally, "killed")
    mortal.start()
    clock.now += 60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get("a.jpg") is None  # it came back empty
        cache.put("a.jpg", value := features())
        cache.put("b.jpg", features())
        assert cache.flush(60)
        found = cache.get("a.jpg")
    assert memoryview(found).tobytes() == memoryview(value).tobytes()


def test_a_server_that_is_restarted_between_two_questions_is_noticed_by_none(mortal: Any) -> None:
    with closing(RedisStore(mortal.url, timeout=5)) as store:
        for _ in range(3):
            store.put(A, b"x")
            assert store.get(A) == b"x"
            mortal.kill()
            mortal.start()
            assert store.get(A) is None


def test_a_server_that_is_paused(mortal: Any, tally: Counter[str]) -> None:
    clock = Clock()
    cache = cache_of(mortal, clock)
    value = filled(cache)
    mortal.signal(signal.SIGSTOP)
    assert_keeps_answering(cache, tally, "paused")
    mortal.signal(signal.SIGCONT)
    clock.now += 60
    found = cache.get("a.jpg")
    assert memoryview(found).tobytes() == memoryview(value).tobytes()


def test_a_server_that_is_full(mortal: Any, tally: Counter[str]) -> None:
    cache = cache_of(mortal, Clock())
    value = filled(cache)
    client = cache._tier.store._client
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 300_000)
    with pytest.warns(StoreWarning, match="used memory > 'maxmemory'") as warned:
        for number in range(8):
            assert cache.put(str(number), features(100_000))
            assert cache.flush(60)
    assert len(warned) == 1
    assert cache.info().store.errors >= 6
    tally["faults of a server: full"] += cache.info().store.errors
    assert not cache._tier.store.breaker.is_open
    assert memoryview(cache.get("a.jpg")).tobytes() == memoryview(value).tobytes()
    assert client.keys("*unfinished*") == []


def test_a_server_that_evicts_makes_misses_and_nothing_torn(mortal: Any) -> None:
    with closing(RedisStore(mortal.url, timeout=20)) as store:
        store._client.config_set("maxmemory-policy", "allkeys-lru")
        store._client.config_set("maxmemory", "40mb")
        data = {Key.from_source(str(number)): os.urandom(9_000_000) for number in range(8)}
        for key, value in data.items():
            store.put(key, value)
        found = {key: store.get(key) for key in data}
        assert 0 < sum(value is not None for value in found.values()) < 8
        assert all(value in (None, data[key]) for key, value in found.items())


class Proxy:
    """A TCP proxy in front of a server that passes answers on slowly, byte by byte, or never."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.trickle: float | None = None
        """Seconds between two bytes of an answer; None for no delay."""
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, slow in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, slow), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if not slow or self.trickle is None:
                    sink.sendall(data)
                    continue
                for byte in data:
                    sink.sendall(bytes([byte]))
                    if self._ended.wait(self.trickle or 0):  # None would be waited for without end
                        return
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def close(self) -> None:
        self._ended.set()
        self._listener.close()


def test_a_server_that_answers_byte_by_byte_is_not_waited_for(server: Any, tally: Counter[str]) -> None:
    """Each byte comes well within the socket's own time-out, so only a bound on the whole helps."""
    with closing(Proxy(server.port)) as proxy:
        clock = Clock()
        cache = cache_of(proxy, clock, prefix="trickle:")
        value = filled(cache)
        proxy.trickle = 0.15
        assert_keeps_answering(cache, tally, "slow")
        for _ in range(12):  # every trial is late as well, and there is an end to how many wait
            clock.now += 60
            _, seconds = timed(lambda: cache.get("a.jpg"))
            assert seconds < TIMEOUT + GRACE
            tally["faults of a server: slow"] += 1
        assert cache._tier.store._late <= 8
        proxy.trickle = None
        deadline = time.monotonic() + 60
        found = None
        while found is None and time.monotonic() < deadline:
            clock.now += 60
            found = cache.get("a.jpg")
        assert memoryview(found).tobytes() == memoryview(value).tobytes()
        cache._tier.store.clear()


def test_a_server_that_takes_connections_and_never_answers(tally: Counter[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        cache = VisionFeatureCache(store=RedisStore(url, clock=Clock()))
        assert_keeps_answering(cache, tally, "silent")


def test_a_server_that_talks_nonsense(tally: Counter[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

        def talk() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                except OSError:
                    return

        threading.Thread(target=talk, daemon=True).start()
        cache = VisionFeatureCache(store=RedisStore(url, clock=Clock()))
        assert_keeps_answering(cache, tally, "talks nonsense")


def test_a_name_that_nobody_knows(tally: Counter[str]) -> None:
    cache = VisionFeatureCache(store=RedisStore("redis://no-such-host.invalid:6379/0", clock=Clock()))
    assert_keeps_answering(cache, tally, "unknown")


# Sharing -----------------------------------------------------------------------------------------------

ALBUM = """
import sys, mlx.core as mx
from visioncache import VisionFeatureCache
from visioncache.stores import RedisStore
cache = VisionFeatureCache(store=RedisStore(sys.argv[1], timeout=20, prefix="album:"))
encoded = 0
def encode(number):
    global encoded
    encoded += 1
    return (mx.full((50, 64), number, dtype=mx.bfloat16), [mx.arange(number + 1)])
for number in range(12):
    value = cache.get_or_compute(f"{number}.jpg", lambda: encode(number))
    assert value[0][0, 0].item() == number and value[1][0].tolist() == list(range(number + 1))
cache.close()
print(encoded)
"""


def test_two_machines_share_features_and_the_second_encodes_nothing(server: Any) -> None:
    encoded = [
        int(
            subprocess.run(
                [sys.executable, "-c", ALBUM, server.url], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(2)
    ]
    assert encoded == [12, 0]
    RedisStore(server.url, prefix="album:", timeout=20).clear()


def test_many_threads_share_a_store(store: RedisStore) -> None:
    cache = VisionFeatureCache(max_size=2, store=store)
    values = [features() for _ in range(10)]
    for number, value in enumerate(values):
        cache.put(str(number), value)
    cache.flush(60)
    wrong: list[int] = []

    def ask(thread: int) -> None:
        for turn in range(30):
            number = (thread * 3 + turn) % 10
            if memoryview(cache.get(str(number))).tobytes() != memoryview(values[number]).tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.info().store.errors == 0


def test_a_store_that_is_away_costs_no_memory(tally: Counter[str]) -> None:
    cache = VisionFeatureCache(max_size=1, store=RedisStore("redis://127.0.0.1:1/0"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)
        for number in range(500):
            cache.put(str(number), features(10))
        cache.flush(60)
        tracemalloc.start()
        for number in range(500):
            cache.put(str(number), features(10))
        cache.flush(60)
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert grown < 1 << 20
    tally["faults of a server: away"] += 1000
