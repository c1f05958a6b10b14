"""What web servers and proxies write: nginx (combined) and Squid (native)."""

from __future__ import annotations

from mingjian.sample.book import Lane
from mingjian.sample.moments import apache, epoch_ms, zone
from mingjian.sample.writers.flows import Request


class Nginx:
    """The access log of a web server, in the form ``combined``."""

    def __init__(self, lane: Lane, zone_us: int) -> None:
        self._append = lane.append
        self._zone_us = zone_us
        self._zone = zone(zone_us)

    def write(self, time_us: int, client: str, request: Request, mark: int, *, referer: str = "-") -> None:
        """Write a line."""
        line = (
            f'{client} - - [{apache(time_us + self._zone_us)} {self._zone}] "{request.method} {request.uri} HTTP/1.1" '
            f'{request.status} {request.received_bytes} "{referer}" "{request.agent}"'
        )
        self._append((time_us, line, mark))


class Squid:
    """The access log of a proxy, in Squid's native form. A line is written when the answer has been sent."""

    def __init__(self, lane: Lane) -> None:
        self._append = lane.append

    def request(
        self, time_us: int, client: str, user: str, request: Request, target: str, elapsed_us: int, mark: int
    ) -> None:
        """A plain request."""
        end_us = time_us + elapsed_us
        line = (
            f"{epoch_ms(end_us)} {elapsed_us // 1000:6} {client} TCP_MISS/{request.status} "
            f"{request.received_bytes + 380} "
            f"{request.method} http://{request.host}{request.uri} {user} HIER_DIRECT/{target} {request.mime}"
        )
        self._append((end_us, line, mark))

    def tunnel(
        self,
        time_us: int,
        client: str,
        user: str,
        host: str,
        target: str,
        elapsed_us: int,
        received_bytes: int,
        mark: int,
    ) -> None:
        """A tunnel for TLS: only its end is known."""
        end_us = time_us + elapsed_us
        line = (
            f"{epoch_ms(end_us)} {elapsed_us // 1000:6} {client} TCP_TUNNEL/200 {received_bytes} "
            f"CONNECT {host}:443 {user} "
            f"HIER_DIRECT/{target} -"
        )
        self._append((end_us, line, mark))
