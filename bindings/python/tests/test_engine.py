"""The engine: every call, its answers and its exceptions."""
import logging
import os
import re
import sqlite3
import subprocess
import sys
import threading

import pytest

import syncengine
from syncengine import Ack, Engine, Outcome, Put, Result


def test_the_installed_library_is_the_one_that_runs():
    path = os.environ.get('SYNCENGINE_LIBRARY')
    if not path:
        pytest.skip('the one that the loader finds')
    assert os.path.realpath(path) in open('/proc/self/maps').read()
    assert re.fullmatch(r'\d+\.\d+\.\d+', syncengine.library_version())


def test_get_contains_delete(engine):
    assert engine.get('a') is None and 'a' not in engine
    assert engine.submit('a', b'1') is Result.OK
    assert 'a' in engine and engine.contains('a')
    assert engine.delete('a') is Result.OK
    assert engine.get('a') is None and 'a' not in engine


def test_acks(engine, options):
    assert engine.submit('a', b'1', ack=Ack.L3) is Result.OK
    assert engine.submit('b', b'1', ack=Ack.WAL) is Result.OK
    with sqlite3.connect(options['sql_url'][len('sqlite:'):]) as db:
        assert db.execute("SELECT id FROM sync_items WHERE id = 'a'").fetchall() == [('a',)]


def test_get_many_and_submit_many(engine):
    written = engine.submit_many([('a', b'1'), Put('b', '2', state='red'), ('c', memoryview(b'3'))])
    assert [w.result for w in written] == [Result.OK] * 3
    assert written[0].version < written[1].version < written[2].version
    found = engine.get_many(['c', 'none', 'a', 'b'])
    assert [bytes(i) if i else None for i in found] == [b'3', None, b'1', b'2']
    assert found[3].state == 'red' and found[3].version == written[1].version
    assert engine.get_many([]) == [] and engine.submit_many([]) == []


def test_a_refused_batch_says_which(engine):
    with pytest.raises(syncengine.BatchError) as caught:
        engine.submit_many([('a', b'1'), ('bad\n', b'2'), ('c', b'3')])
    assert caught.value.result is Result.INVALID
    assert caught.value.results == [Result.ABORTED, Result.INVALID, Result.ABORTED]
    assert isinstance(caught.value.__cause__, syncengine.InvalidError)
    assert 'a' not in engine


def test_scan(engine):
    for i in range(2500):
        engine.submit(f'k:{i:04}', str(i))
    engine.submit('other', b'')
    assert [i.id for i in engine.scan('k:')] == [f'k:{i:04}' for i in range(2500)]
    engine.flush()
    assert [i.id for i in engine.scan('k:', after='k:0009', limit=2)] == ['k:0010', 'k:0011']
    assert [i.id for i in engine.scan('k:', limit=1001)][-1] == 'k:1000'
    assert len(list(engine.scan())) == 2501
    assert list(engine.scan('none')) == []


def test_health_metrics_and_config(engine):
    health = engine.health()
    assert health.healthy and health.ready and health.phase == 'running' and health.sql_up is True and health.redis_up is None
    assert health.pressure_level == 'normal' and health.sql_circuit == 'closed'
    engine.submit('a', b'1')
    assert re.search(r'^sync_engine_writes_accepted_total.* 1$', engine.metrics(), re.M)
    assert 'l1_max_bytes = 16777216\n' in engine.config


@pytest.mark.parametrize('id', ['', 'a\0b', '\x7f', 'x' * 256])
def test_bad_ids(engine, id):
    for call in (lambda: engine.get(id), lambda: engine.submit(id, b''), lambda: engine.delete(id), lambda: engine.contains(id),
                 lambda: engine.get_many(['a', id]), lambda: engine.submit_many([(id, b'')])):
        with pytest.raises((syncengine.InvalidError, syncengine.BatchError)) as caught:
            call()
        assert caught.value.result is Result.INVALID and str(caught.value)


def test_errors_have_their_class_and_message(options):
    with pytest.raises(syncengine.ConfigError, match='no_such_option'):
        Engine(no_such_option=1)
    with pytest.raises(syncengine.ConfigError, match='batch_flush_ms'):
        Engine(batch_flush_ms=0)
    with pytest.raises(syncengine.UnsupportedError):
        Engine(shared=True)
    with Engine(**options, max_payload_bytes=10) as engine, pytest.raises(syncengine.TooBigError, match='11 bytes'):
        engine.submit('a', b'x' * 11)
    with pytest.raises(syncengine.StateError, match='closed'):
        engine.get('a')
    engine.close()
    assert engine.closed
    for kind in (syncengine.InvalidError, syncengine.ConfigError, syncengine.TooBigError):
        assert issubclass(kind, ValueError) and issubclass(kind, syncengine.Error)
    assert {kind.result for kind in syncengine.Error.__subclasses__() if kind is not syncengine.BatchError} == {
        r for r in Result if r < 0}


def test_secrets_are_in_no_text():
    with pytest.raises(syncengine.Error) as caught:
        Engine(sql_url='mysql://me:s3cret@127.0.0.1:1/db', require_backends=True, startup_timeout_ms=300)
    assert 's3cret' not in str(caught.value)
    with Engine(sql_url='mysql://me:s3cret@127.0.0.1:1/db', startup_timeout_ms=100) as engine:
        assert 's3cret' not in engine.config and '127.0.0.1' in engine.config


def test_an_outage_is_no_miss():
    with Engine(sql_url='mysql://me:x@127.0.0.1:1/db', startup_timeout_ms=100, read_timeout_ms=200) as engine:
        with pytest.raises(syncengine.BackendError):
            engine.get('a')
        with pytest.raises(syncengine.BackendError):
            engine.get_many(['a', 'b'])


def test_from_env(monkeypatch, options):
    monkeypatch.setenv('SYNC_ENGINE_NAME', 'from-env')
    with Engine(from_env=True) as engine:
        assert 'name = from-env\n' in engine.config
    with Engine(from_env=True, **options) as engine:
        assert 'name = python\n' in engine.config


def test_deliveries(engine):
    told, all_told = [], threading.Event()

    def hear(d):
        told.append(d)
        if len(told) == 3:
            all_told.set()

    engine.submit('a', b'1', delivery=hear, delivery_ack=Ack.L3)
    version = engine.submit_many([Put('b', b'2', delivery=hear, delivery_ack=Ack.L3)])[0].version
    engine.delete('c', delivery=hear, delivery_ack=Ack.L3)
    with pytest.raises(syncengine.InvalidError):
        engine.submit('', b'', delivery=hear)
    assert all_told.wait(20)
    by_id = {d.id: d for d in told}
    assert sorted(by_id) == ['a', 'b', 'c'] and {d.outcome for d in told} == {Outcome.HOME}
    assert by_id['b'].version == version and by_id['c'].deleted and not by_id['a'].deleted
    assert not engine._waiting


def test_a_delivery_may_use_the_engine_but_not_close_it(engine):
    said, done = [], threading.Event()

    def hear(d):
        engine.submit('inside', b'1')
        try:
            engine.close()
        except syncengine.StateError:
            said.append('refused')
        done.set()

    engine.submit('a', b'1', delivery=hear)
    assert done.wait(20) and said == ['refused'] and 'inside' in engine


def test_shutdown_answers_what_is_open(options):
    told = []
    del options['wal_path']
    engine = Engine(**options)
    db = sqlite3.connect(options['sql_url'][len('sqlite:'):])
    db.execute('BEGIN IMMEDIATE')
    engine.submit('a', b'1', delivery=told.append)
    with pytest.raises(syncengine.SyncTimeoutError, match='1 writes'):
        engine.shutdown(0.05)
    assert [(d.id, d.outcome) for d in told] == [('a', Outcome.OPEN)]
    db.rollback()
    with pytest.raises(syncengine.StateError):
        engine.submit('b', b'')
    with pytest.raises(syncengine.Error):
        engine.close()
    assert engine.closed


def test_log_events_reach_logging(caplog):
    with caplog.at_level(logging.INFO, 'syncengine'):
        Engine(name='loud', sql_url='mysql://me:x@127.0.0.1:1/db', startup_timeout_ms=100).close(0)
    about = [r.syncengine for r in caplog.records if hasattr(r, 'syncengine')]
    degraded = [a for a in about if (a['component'], a['event']) == ('engine', 'degraded')]
    assert degraded and degraded[0]['engine'] == 'loud' and degraded[0]['fields']['error']


def test_threads(engine):
    def work(number):
        for i in range(300):
            engine.submit(f't{number}:{i}', str(i))
            assert bytes(engine.get(f't{number}:{i}')) == str(i).encode()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert engine.flush() is Result.OK
    assert sum(1 for _ in engine.scan('t')) == 1200


def test_an_engine_left_open_is_closed_at_exit(options):
    program = ('import sys, syncengine\n'
               f'e = syncengine.Engine(**{options!r})\n'
               'e.submit("a", b"kept", delivery=lambda d: print(d.outcome.name))\n')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr and done.stdout in ('HOME\n', 'WAL\n'), done
    with Engine(**options) as engine:
        assert bytes(engine.get('a')) == b'kept'
