"""Holds many WebSockets open in one process and counts what arrives; orders come on stdin, answers go to stdout.

`python -m bench.sockets.holder HOST PORT PATH GREETING` · orders: `open N`, `expect MESSAGES` and `echo SECONDS
SOCKETS TEXT`. It is deliberately not a WebSocket library: the client must cost less than any server under test. Pings
are answered.
"""

from __future__ import annotations

import base64
import os
import select
import selectors
import socket
import sys
import time

MOST_AT_ONCE = 50
"""Handshakes under way at one time, below every server's listen backlog."""


class Held:
    """One connection (RFC 6455): frames from a server are unmasked."""

    def __init__(self, address: tuple[str, int], path: str, greeting: str) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\n"
        self.socket.sendall(
            f"{head}Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.buffer = b""
        self.received = 0
        self.greeting = greeting

    def finish(self) -> None:
        """Read the handshake's answer; say the greeting (Socket.IO's `40` joins the namespace)."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("the server closed during the handshake")
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode(errors="replace"))
        if self.greeting:
            self.send(0x1, self.greeting.encode())
        self.socket.setblocking(False)

    def send(self, opcode: int, payload: bytes) -> None:
        """A masked frame below 64 KiB; the mask of zeros leaves the payload as it is."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2)
        self.socket.sendall(bytes((0x80 | opcode,)) + length + bytes(4) + payload)

    def ended(self) -> bool:
        """Whether the server has closed: an end of the stream, or a close frame behind all that it sent."""
        try:
            while select.select([self.socket], [], [], 0)[0]:
                self.read()
        except OSError:
            return True
        return False

    def read(self) -> int:
        """Take what is there; returns how many data frames were complete."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return 0
        if not data:
            raise ConnectionError("the server closed a held connection")
        self.buffer += data
        found = 0
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == 0x8:
                raise ConnectionError("the server closed a held connection")
            if opcode == 0x9:
                self.send(0xA, payload)
            elif opcode == 0x1 and payload == b"2":  # Engine.IO's ping
                self.send(0x1, b"3")
            elif opcode in (0x1, 0x2) and len(payload) >= 100:
                found += 1
        self.received += found
        return found

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        start, length = 2, buffer[1] & 0x7F
        if length == 126:
            if len(buffer) < 4:
                return None
            start, length = 4, int.from_bytes(buffer[2:4])
        elif length == 127:
            if len(buffer) < 10:
                return None
            start, length = 10, int.from_bytes(buffer[2:10])
        if len(buffer) < start + length:
            return None
        self.buffer = buffer[start + length :]
        return buffer[0] & 0x0F, buffer[start : start + length]


class Holder:
    """All connections, and one selector over them."""

    def __init__(self, host: str, port: int, path: str, greeting: str) -> None:
        self.address, self.path, self.greeting = (host, port), path, greeting
        self.held: list[Held] = []
        self.selector = selectors.DefaultSelector()

    def open(self, count: int) -> None:
        """Open so many more connections."""
        while count > 0:
            group = [Held(self.address, self.path, self.greeting) for _ in range(min(count, MOST_AT_ONCE))]
            for one in group:
                one.finish()
                self.selector.register(one.socket, selectors.EVENT_READ, one)
            self.held += group
            count -= len(group)
            self.serve(0)

    def serve(self, seconds: float) -> int:
        """One round of reading; returns the data frames that came."""
        return sum(key.data.read() for key, _ in self.selector.select(seconds) if key.data is not None)

    def expect(self, messages: int, deadline: float = 60.0) -> float:
        """Wait until every connection has had so many more messages; returns the seconds it took."""
        wanted = messages * len(self.held)
        start = time.perf_counter()
        while wanted > 0:
            wanted -= self.serve(0.1)
            if time.perf_counter() - start > deadline:
                raise TimeoutError(f"{wanted} messages did not arrive within {deadline:g} s")
        return time.perf_counter() - start

    def echo(self, seconds: float, connections: int, text: bytes) -> list[float]:
        """Some connections send, wait for the echo and send again, for so long; sorted seconds of each round trip."""
        chosen, times = self.held[:connections], []
        sent = dict.fromkeys(chosen, 0.0)
        end = time.perf_counter() + seconds
        for one in chosen:
            sent[one] = time.perf_counter()
            one.send(0x1, text)
        while (now := time.perf_counter()) < end:
            for key, _ in self.selector.select(0.1):
                if key.data is None or not key.data.read():
                    continue
                now = time.perf_counter()
                times.append(now - sent[key.data])
                sent[key.data] = now
                key.data.send(0x1, text)
        self.expect_quiet()
        return sorted(times)

    def expect_quiet(self) -> None:
        """Let the last answers come in."""
        while self.serve(0.2):
            pass


def main() -> None:
    """Carry out orders until stdin ends; keeps answering pings between them."""
    holder = Holder(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
    holder.selector.register(sys.stdin, selectors.EVENT_READ, None)
    while True:
        for key, _ in holder.selector.select():
            if key.data is not None:
                key.data.read()
                continue
            words = sys.stdin.readline().split()
            if not words:
                return
            if words[0] == "open":
                holder.open(int(words[1]))
                print("opened", flush=True)
            elif words[0] == "echo":
                times = holder.echo(float(words[1]), int(words[2]), words[3].encode())
                print(len(times), times[len(times) // 2], times[len(times) * 99 // 100], flush=True)
            else:
                print("waiting", flush=True)
                print(holder.expect(int(words[1])), flush=True)


if __name__ == "__main__":
    main()
