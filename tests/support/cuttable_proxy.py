"""A loopback proxy that can be cut: a service that goes away and comes back, as its clients see it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class CuttableProxy:
    """Forwards connections of ``port`` to ``target_port``, both on 127.0.0.1, except while it is cut."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self.refused = 0
        """Connections that came while it was cut."""
        self._first_refused = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection at once and refuses new ones."""
        with self._lock:
            self._is_cut = True
            self.refused = 0
            self._first_refused.clear()
            connections, self._open = self._open, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        with self._lock:
            self._is_cut = False

    def wait_refused(self, timeout_seconds: float = 60) -> None:
        """Returns once somebody has felt the cut."""
        assert self._first_refused.wait(timeout_seconds), "nobody tried to connect"

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                incoming, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    self.refused += 1
                    self._first_refused.set()
                    incoming.close()
                    continue
            try:
                outgoing = socket.create_connection(("127.0.0.1", self._target_port), timeout=10)
            except OSError:
                incoming.close()
                continue
            outgoing.settimeout(None)
            with self._lock:
                self._open |= {incoming, outgoing}
            for source, sink in ((incoming, outgoing), (outgoing, incoming)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


@contextlib.contextmanager
def cuttable(target_port: int) -> Iterator[CuttableProxy]:
    proxy = CuttableProxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
