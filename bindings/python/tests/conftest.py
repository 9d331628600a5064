"""Every test has an engine of its own on a SQLite file, with a WAL."""
import pytest

import syncengine


@pytest.fixture
def options(tmp_path):
    return {'name': 'python', 'sql_url': f'sqlite:{tmp_path}/home.db', 'wal_path': str(tmp_path / 'wal.db'), 'batch_flush_ms': 5,
            'sql_timeout_ms': 100, 'l1_max_bytes': '16MiB'}


@pytest.fixture
def engine(options):
    with syncengine.Engine(**options) as e:
        yield e
