"""Items: one version of one id, and its bytes without a copy."""
from __future__ import annotations

import enum
from typing import Any

from ._library import ffi, lib, text_of


class ContentType(enum.IntEnum):
    AUTO = 0
    BINARY = 1
    JSON = 2


class Item:
    """A version of an id. Immutable, and valid for as long as it, or any view of it, is alive: also after the engine was closed.

    `content` is a read-only memoryview over the library's own memory: nothing is copied. Each view holds the item by itself.
    """

    __slots__ = ('_item',)

    def __init__(self, reference: Any) -> None:
        """Takes the reference. Items are made by engines."""
        self._item = ffi.gc(reference, lib.se_item_release)

    @property
    def id(self) -> str:
        return str(ffi.string(lib.se_item_id(self._item)).decode())

    @property
    def content(self) -> memoryview:
        # A reference of the view's own. cffi's buffer keeps the pointer alive, and the pointer keeps the item.
        item = lib.se_item_retain(self._item)
        start = ffi.gc(ffi.cast('char *', lib.se_item_content(item)), lambda _: lib.se_item_release(item))
        return memoryview(ffi.buffer(start, lib.se_item_content_len(item))).toreadonly()

    @property
    def version(self) -> int:
        return int(lib.se_item_version(self._item))

    @property
    def updated_at_ms(self) -> int:
        return int(lib.se_item_updated_at_ms(self._item))

    @property
    def content_type(self) -> ContentType:
        return ContentType(lib.se_item_content_type(self._item))

    @property
    def state(self) -> str:
        return text_of(lib.se_item_state(self._item))

    @property
    def hash(self) -> bytes:
        """XXH3-128 of the content, big-endian."""
        out = ffi.new('uint8_t[]', lib.SE_HASH_SIZE)
        lib.se_item_hash(self._item, out)
        return bytes(ffi.buffer(out))

    def __len__(self) -> int:
        return int(lib.se_item_content_len(self._item))

    def __bytes__(self) -> bytes:
        return bytes(self.content)

    def __repr__(self) -> str:
        return f'<syncengine.Item {self.id!r} version {self.version}, {len(self)} bytes>'
