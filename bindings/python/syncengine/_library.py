"""The shared library, and what its results become in Python.

ABI mode of cffi: no compiler and no header is needed where this runs, and one copy of these files serves every build of the library with the
same soname. That is safe here because the library's structs only grow at their ends, behind a struct_size or into reserved fields, and because
the declarations are generated from its header.
"""
from __future__ import annotations

import enum
import os
from typing import Any

import cffi

from ._cdef import CDEF

ffi = cffi.FFI()
ffi.cdef(CDEF)


def _load() -> Any:
    path = os.environ.get('SYNCENGINE_LIBRARY', 'libsyncengine.so.0')
    loaded: Any = ffi.dlopen(path)
    version = ffi.string(loaded.se_library_version()).decode()
    if version.split('.')[0] != str(loaded.SE_VERSION_MAJOR):
        raise ImportError(f'{path} is version {version}, these bindings are for {loaded.SE_VERSION_MAJOR}.x')
    return loaded


lib: Any = _load()

_libc_ffi = cffi.FFI()
_libc_ffi.cdef('void free(void *memory);')
_libc: Any = _libc_ffi.dlopen(None)


def free(memory: Any) -> None:
    """For what the library hands out from malloc()."""
    _libc.free(memory)


class Result(enum.IntEnum):
    """What a call returned; the negative ones become exceptions."""

    OK = 0
    NOT_FOUND = 1
    PENDING = 2
    INVALID = -1
    NOMEM = -2
    TOO_BIG = -3
    BACKPRESSURE = -4
    STATE = -5
    BACKEND = -6
    TIMEOUT = -7
    CORRUPT = -8
    IO = -9
    CONFIG = -10
    UNSUPPORTED = -11
    ABORTED = -12


class Error(Exception):
    """A call failed and has changed nothing. `result` says how, the text is the library's own."""

    result: Result

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        if result is not None:
            self.result = result


class InvalidError(Error, ValueError):
    """An argument breaks a documented limit."""

    result = Result.INVALID


class NoMemoryError(Error, MemoryError):
    """There is no memory."""

    result = Result.NOMEM


class TooBigError(Error, ValueError):
    """The content is longer than max_payload_bytes."""

    result = Result.TOO_BIG


class BackpressureError(Error):
    """The write was refused for now; `retry_after` is in seconds."""

    result = Result.BACKPRESSURE
    retry_after: float = 0.0


class StateError(Error):
    """The engine does not accept this in its present state."""

    result = Result.STATE


class BackendError(Error):
    """A tier that could hold the answer cannot be asked: not the same as not found."""

    result = Result.BACKEND


class SyncTimeoutError(Error, TimeoutError):
    """It was not done in time."""

    result = Result.TIMEOUT


class CorruptError(Error):
    """Stored bytes do not fit their hash, and no tier had a good copy."""

    result = Result.CORRUPT


class LocalIOError(Error, OSError):
    """A local file (WAL, snapshot) failed."""

    result = Result.IO


class ConfigError(Error, ValueError):
    """The configuration cannot be used."""

    result = Result.CONFIG


class UnsupportedError(Error):
    """This version, or this configuration, cannot do it."""

    result = Result.UNSUPPORTED


class AbortedError(Error):
    """This item of a batch was not tried because another one failed."""

    result = Result.ABORTED


ERRORS: dict[int, type[Error]] = {int(kind.result): kind for kind in Error.__subclasses__()}


def text_of(pointer: Any) -> str:
    """A C string that is UTF-8, or nearly: what a backend said may be anything."""
    return ffi.string(pointer).decode('utf-8', 'replace') if pointer else ''


def error_of(result: int) -> Error:
    """The exception for a negative result of the call that this thread has just made."""
    return ERRORS[result](text_of(lib.se_errmsg()) or text_of(lib.se_strerror(result)))


def check(result: int) -> Result:
    if result < 0:
        raise error_of(result)
    return Result(result)
