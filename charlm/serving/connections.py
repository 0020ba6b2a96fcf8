"""Connections whose client does not do its part: closed after a while, so that they do not add up.

uvicorn closes a connection that is idle between two requests, but waits without end for the head of a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def bounded_protocol(*, read_seconds: float, max_connections: int) -> type[H11Protocol]:
    """Return a protocol for uvicorn that bounds its connections.

    Args:
        read_seconds: How long a client may take to send the head of a request, and to take what is left of an answer
            once the connection is closed.
        max_connections: Connections beyond this number are closed at once.

    """

    class BoundedProtocol(H11Protocol):
        """HTTP/1.1 with a limit to the time between requests."""

        _timer: asyncio.TimerHandle | None = None
        _waits_for: Any = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Refuse a connection beyond the limit, and begin to watch the others."""
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                transport.abort()
            else:
                self._check_later()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop watching a connection that has ended."""
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _check_later(self) -> None:
            is_busy = self.cycle is not None and not self.cycle.response_complete
            self._waits_for = None if is_busy else (self.cycle,)
            self._timer = self.loop.call_later(read_seconds, self._check)

        def _check(self) -> None:
            """Close the connection if it waits for the same request as at the last check."""
            if self.transport.is_closing():
                self.transport.abort()
            elif self._waits_for is not None and self._waits_for[0] is self.cycle:
                self.transport.close()
                self._check_later()
            else:
                self._check_later()

    return BoundedProtocol
