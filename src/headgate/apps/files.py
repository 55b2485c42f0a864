"""`wsgi.file_wrapper` (PEP 3333): a file as an iterable of large blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from headgate.link.session import PIECE


class FileWrapper:
    """Iterates a file-like object by blocks and closes it with the response.

    Args:
        filelike: has `read(size)`, perhaps `close()`.
        block_size: what the app suggests; smaller blocks than the link's pieces would only cost more frames.
    """

    def __init__(self, filelike: IO[bytes], block_size: int = 8192) -> None:
        self.filelike = filelike
        self._size = max(block_size, PIECE)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self._size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()
