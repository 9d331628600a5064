"""Python bindings of libsyncengine. See docs/python.md; what things mean is in syncengine.h."""
from ._engine import (Ack, BatchError, Delivery, Engine, Health, Outcome, Put, Route, Written)
from ._item import ContentType, Item
from ._library import (AbortedError, BackendError, BackpressureError, ConfigError, CorruptError, Error, InvalidError, LocalIOError,
                       NoMemoryError, Result, StateError, SyncTimeoutError, TooBigError, UnsupportedError, ffi, lib)

__version__ = '0.1.0'


def library_version() -> str:
    """The version of the shared library that is loaded."""
    return str(ffi.string(lib.se_library_version()).decode())


__all__ = ['AbortedError', 'Ack', 'BackendError', 'BackpressureError', 'BatchError', 'ConfigError', 'ContentType', 'CorruptError',
           'Delivery', 'Engine', 'Error', 'Health', 'InvalidError', 'Item', 'LocalIOError', 'NoMemoryError', 'Outcome', 'Put', 'Result',
           'Route', 'StateError', 'SyncTimeoutError', 'TooBigError', 'UnsupportedError', 'Written', 'library_version']
