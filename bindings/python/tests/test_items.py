"""Items: what is read is what was written, nothing is copied, and views outlive everything."""
import gc

import pytest

import syncengine
from syncengine import ContentType, ffi, lib


def test_an_item_has_all_its_parts(engine):
    engine.submit('a', b'{"x": 1}', state='red')
    item = engine.get('a')
    assert (item.id, bytes(item), len(item), item.state) == ('a', b'{"x": 1}', 8, 'red')
    assert item.content_type is ContentType.JSON
    assert item.version > 0 and item.updated_at_ms > 1_600_000_000_000
    assert len(item.hash) == 16 and 'a' in repr(item)


@pytest.mark.parametrize('content', [b'', b'\0\xff\0', bytearray(b'abc'), memoryview(b'abcdef')[::1], 'ä€', b'x' * 1_000_000],
                         ids=['empty', 'binary', 'bytearray', 'memoryview', 'text', 'large'])
def test_bytes_come_back_as_they_were(engine, content):
    wanted = content.encode() if isinstance(content, str) else bytes(content)
    engine.submit('a', content)
    assert engine.get('a').content == wanted
    engine.flush()
    assert bytes(engine.get('a')) == wanted


def test_content_is_not_copied(engine):
    engine.submit('a', b'x' * 100_000)
    item = engine.get('a')
    start = lib.se_item_content(item._item)
    assert ffi.from_buffer(item.content) == start
    assert ffi.from_buffer(item.content[10:]) == start + 10


def test_a_view_cannot_be_written(engine):
    engine.submit('a', b'abc')
    view = engine.get('a').content
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 0


def test_a_view_outlives_item_overwriting_eviction_and_engine(options):
    with syncengine.Engine(**options) as engine:
        engine.submit('a', b'first' * 1000)
        view = engine.get('a').content
        part = view[:5]
        engine.submit('a', b'second')
        for i in range(200):
            engine.submit(f'other{i}', b'z' * 100_000)
            if i % 20 == 0:
                engine.flush()
        assert bytes(engine.get('a')) == b'second'
    gc.collect()
    assert view == b'first' * 1000
    view.release()
    gc.collect()
    assert part == b'first'


def test_references_come_back(engine):
    engine.submit('a', b'x' * 1000)
    engine.flush()
    views = [engine.get('a').content for _ in range(1000)]
    engine.submit('a', b'y')
    assert all(view[0] == ord('x') for view in views)
    del views
    gc.collect()
    assert bytes(engine.get('a')) == b'y'
