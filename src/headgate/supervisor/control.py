"""The control socket: `headgate status`, `reload` and `stop` ask, the supervisor answers. Both ends are here.

A question is one frame of JSON, and so is its answer; the socket's folder lets only the owner in.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from headgate.base.errors import HeadgateError, ProtocolError, Unavailable
from headgate.base.frames import FrameReader, frame

_QUESTION_LIMIT: Final = 64 * 1024
_ANSWER_LIMIT: Final = 64 * 1024 * 1024
_MOST_CALLERS: Final = 64


class Question(msgspec.Struct, frozen=True):
    """What is asked of the supervisor."""

    do: Literal["status", "reload", "stop"]
    quick: bool = False
    gateways: bool = False
    """Of a reload: the gateways too."""


class Reply(msgspec.Struct, frozen=True):
    """The answer; `failure` and `traceback` say why an order was not carried out."""

    ok: bool = True
    data: dict[str, Any] = {}
    failure: str = ""
    traceback: str = ""


class ControlServer:
    """The supervisor's end, served by its selector. A reply may come at once or turns later.

    Args:
        listener: the listening control socket.
        selector: where to be told of callers; keys carry a callable as their data.
        asked: called with a caller's number and question; it answers by `reply(number, …)`.
    """

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, asked: Callable[[int, Question], None]
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._asked = asked
        self._numbers = itertools.count(1)
        self._callers: dict[int, tuple[socket.socket, FrameReader]] = {}
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def reply(self, caller: int, reply: Reply) -> None:
        """Answer a caller and hang up; one that is gone meanwhile is no matter."""
        if caller in self._callers:
            caller_socket, _ = self._callers[caller]
            caller_socket.settimeout(2.0)
            with contextlib.suppress(OSError):
                caller_socket.sendall(frame(msgspec.json.encode(reply)))
            self._hang_up(caller)

    def close(self) -> None:
        for caller in list(self._callers):
            self._hang_up(caller)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            accepted, _ = self._listener.accept()
            if len(self._callers) >= _MOST_CALLERS:
                accepted.close()
                return
            accepted.setblocking(False)
            number = next(self._numbers)
            self._callers[number] = (accepted, FrameReader(_QUESTION_LIMIT))
            self._selector.register(accepted, selectors.EVENT_READ, lambda: self._read(number))

    def _read(self, caller: int) -> None:
        accepted, reader = self._callers[caller]
        try:
            data = accepted.recv(65536)
            questions = [msgspec.json.decode(payload, type=Question) for payload in reader.feed(data)]
        except BlockingIOError:
            return
        except (OSError, ProtocolError, msgspec.DecodeError):
            data, questions = b"", []
        if not data:
            self._hang_up(caller)
        for question in questions[:1]:
            self._asked(caller, question)

    def _hang_up(self, caller: int) -> None:
        accepted, _ = self._callers.pop(caller)
        self._selector.unregister(accepted)
        accepted.close()


def ask(path: Path, question: Question, seconds: float) -> Reply:
    """Ask the supervisor of a data folder.

    Args:
        path: its control socket.
        question: what is asked.
        seconds: how long to wait for the answer.

    Raises:
        Unavailable: no supervisor answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dialled:
        dialled.settimeout(seconds)
        try:
            dialled.connect(str(path))
            dialled.sendall(frame(msgspec.json.encode(question)))
            for payload in _payloads(dialled):
                return msgspec.json.decode(payload, type=Reply)
        except TimeoutError:
            raise Unavailable(f"The supervisor behind {path} gave no answer within {seconds:g} s.") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unavailable(
                f"No Headgate runs on the data folder {path.parent.parent}. Start it with `headgate run`, or name "
                "the folder of a running one with --data."
            ) from None
        except OSError as exc:
            raise Unavailable(f"The supervisor behind {path} cannot be asked: {exc.strerror or exc}.") from None
    raise HeadgateError("The supervisor ended before it answered.")


def _payloads(dialled: socket.socket) -> Iterator[bytes]:
    reader = FrameReader(_ANSWER_LIMIT)
    while data := dialled.recv(65536):
        yield from reader.feed(data)
