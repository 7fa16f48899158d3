"""A TCP proxy that can cut, refuse, stall and slow down the connections that go through it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Proxy"]

_PIECE = 1 << 16


class Proxy:
    """Listens on a free loopback port and passes everything on to `host:port`, in a thread of its own.

    The methods may be called from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._refusing = False
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.dropped = 0
        """Connections that were cut or refused."""
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="proxy", daemon=True)
        self._thread.start()
        listening.wait(10.0)

    def cut(self) -> None:
        """Resets every open connection, in the middle of whatever it carries."""
        self._do(self._cut)

    def refuse(self, on: bool) -> None:
        """Resets open connections, and new ones as soon as they are made."""

        def switch() -> None:
            self._refusing = on
            if on:
                self._cut()

        self._do(switch)

    def stall(self, on: bool) -> None:
        """Holds every byte back; connections stay open."""
        self._do(self._open.clear if on else self._open.set)

    def delay(self, seconds: float) -> None:
        """Holds each piece back for so long, both ways."""

        def switch() -> None:
            self._delay = seconds

        self._do(switch)

    def close(self) -> None:
        """Cuts everything and stops listening."""
        self._do(self._cut)
        self._do(self._loop.stop)
        self._thread.join(10.0)

    def _do(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)

    def _run(self, listening: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self._reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._behind)
        except OSError:
            self._reset(writer)
            return
        both = {writer, far_writer}
        self._writers |= both
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open.wait()
                writer.write(piece)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()

    def _cut(self) -> None:
        writers, self._writers = self._writers, set()
        for writer in writers:
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Closes it so that the peer sees a reset, not an end."""
        self.dropped += 1
        with suppress(OSError):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
