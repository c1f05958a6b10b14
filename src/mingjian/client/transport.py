"""Requests and answers over HTTP: one connection, JSON, problems as errors, and every change at most once.

A POST gets an ``Idempotency-Key`` of its own. If the connection breaks before the answer is there, or the server says
503 or 429, it is sent again with the same key (``TRIES``): it takes effect once.
"""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from mingjian import errors
from mingjian.errors import ConfigError, DeliveryError, InputError, LimitExceeded, MingjianError, TooManyRequests

PREFIX: Final = "/api/v1"
TIMEOUT_S: Final = 60.0
TRIES: Final = 4
WAIT_S: Final = 0.5
WAIT_S_MAX: Final = 30.0
READ_BYTES: Final = 256 * 1024
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""A larger answer that is no export is refused."""

Parameters: TypeAlias = Mapping[str, object]


class Answer(NamedTuple):
    """An answer that was read to its end."""

    body: bytes
    etag: str


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""
    where: str | None = None
    hint: str | None = None


def _codes(kind: type[MingjianError]) -> Iterator[tuple[str, type[MingjianError]]]:
    yield kind.code, kind
    for below in kind.__subclasses__():
        yield from _codes(below)


_BY_CODE: Final = dict(_codes(errors.MingjianError))


def error_of(status: int, body: bytes) -> MingjianError:
    """The error that an answer tells of, as an error of ours."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"the server answered with {status}")
    kind = _BY_CODE.get(problem.code, DeliveryError)
    where, hint = problem.where or "", problem.hint or ""
    if kind is LimitExceeded:
        return InputError(problem.detail, where=where, hint=hint)
    if kind in (DeliveryError, TooManyRequests):
        return DeliveryError(problem.detail, may_retry=status in (429, 503), where=where, hint=hint)
    return kind(problem.detail, where=where, hint=hint)


class Transport:
    """One connection to one server. Not for several threads at once."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``tls``: how certificates are checked; without it as the system does. Raises: ConfigError."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("the address of the server is no http or https address")
        self._place = (parts.hostname, parts.port)
        self._base = parts.path.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._token = token
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self._wait_s = 0.0
        """So long the server wants to be left alone."""

    def close(self) -> None:
        """Give the connection back. May be repeated."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self,
        method: str,
        path: str,
        parameters: Parameters | None = None,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with a JSON body, and read the answer.

        Raises:
            MingjianError: the one that the server names; DeliveryError if none came.
        """
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["content-type"] = "application/json"
        if method == "POST":
            sent["idempotency-key"] = secrets.token_hex(16)
        for left in reversed(range(TRIES)):
            try:
                response = self._send(method, self._url(path, parameters), data, sent)
                return Answer(self._read(response), response.headers.get("etag", ""))
            except (DeliveryError, errors.StorageError) as error:
                self.close()
                if not left or (isinstance(error, DeliveryError) and not error.may_retry):
                    raise
                self._sleep(min(max(self._wait_s, WAIT_S * 2 ** (TRIES - left)), WAIT_S_MAX))
        raise AssertionError("the last try gives an answer or raises")

    def upload(self, path: str, parameters: Parameters, file: BinaryIO, media_type: str) -> Answer:
        """Send a file as the body of a POST, from its beginning, without holding it in memory. Raises: MingjianError.

        The server knows what it took by its content: whoever is not sure may send it again.
        """
        file.seek(0, 2)
        headers = {"content-type": media_type, "content-length": str(file.tell())}
        file.seek(0)
        response = self._send("POST", self._url(path, parameters), file, headers)
        return Answer(self._read(response), "")

    def download(self, path: str, parameters: Parameters, counted: Callable[[int], None]) -> Iterator[bytes]:
        """The bytes of an export, some at a time; ``counted`` is told how many rows there will be.

        Raises:
            MingjianError: the one that the server names; DeliveryError if the answer was cut off.
        """
        response = self._send("GET", self._url(path, parameters), None, {})
        rows = response.headers.get("mingjian-rows", "")
        if not rows.isdecimal():
            raise DeliveryError("the server did not say how many rows there are", may_retry=False)
        counted(int(rows))
        try:
            while data := response.read(READ_BYTES):
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError("the export was cut off", may_retry=True) from error
        finally:
            if not response.isclosed():
                self.close()

    def _url(self, path: str, parameters: Parameters | None) -> str:
        pairs: list[tuple[str, str]] = []
        for name, value in (parameters or {}).items():
            several: list[Any] = [*value] if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownVariableType] - texts, or lists of them
            pairs += [(name, _text(each)) for each in several if each not in (None, "")]
        return self._base + PREFIX + quote(path) + (f"?{urlencode(pairs)}" if pairs else "")

    def _send(self, method: str, url: str, body: object, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        every = {"authorization": f"Bearer {self._token}", "accept": "application/json, */*"} | dict(headers)
        try:
            if self._connection is None:
                self._connection = self._connected()
            self._connection.request(method, url, body=body, headers=every)  # type: ignore[arg-type]  # bytes, a file or nothing
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise DeliveryError(f"the server cannot be reached: {error}", may_retry=True) from error
        if response.status >= 300:
            data = b""
            with suppress(OSError, http.client.HTTPException):
                data = response.read(READ_BYTES)
            self.close()
            later = response.headers.get("retry-after", "")
            self._wait_s = float(later) if later.isdecimal() else 0.0
            raise error_of(response.status, data)
        return response

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._place
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise DeliveryError("the answer was cut off", may_retry=True) from error
        if len(data) > ANSWER_BYTES_MAX:
            self.close()
            raise LimitExceeded("ANSWER_BYTES_MAX", ANSWER_BYTES_MAX)
        return data


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of some chunks. Raises: LimitExceeded."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > LINE_BYTES_MAX:
            raise LimitExceeded("LINE_BYTES_MAX", LINE_BYTES_MAX)
    if rest:
        yield rest
