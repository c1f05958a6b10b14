r"""Access and error logs of Apache and nginx, and Squid's native access log.

Fields of access logs have the W3C names that Sigma's ``category: webserver`` rules use: ``c-ip``, ``cs-username``,
``cs-method``, ``cs-uri`` (the request target as a whole), ``cs-uri-stem`` (up to ``?``), ``cs-uri-query`` (behind
it), ``cs-version``, ``sc-status``, ``sc-bytes``, ``cs-referer``, ``cs-user-agent``, ``cs-host`` (virtual host, or
that of a proxy request), ``s-port``, ``x-forwarded-for``, ``extra`` (further fields, in order). ``-`` is absent.
``request`` only where the request line is not ``METHOD TARGET VERSION``.

``cs-uri-any`` holds the target as a whole and each of its parts: most rules written for ``cs-uri-query`` mean the
whole target (``cs-uri-query|contains: /vpns/cfg/``), some the part behind ``?`` (``startswith: cmd=``), some that
name ``cs-uri-stem`` mean the whole as well. A source definition that maps both fields to ``cs-uri-any`` lets all of
them fire. Nothing is percent-decoded: the rules list the encoded forms.

``\x22``, ``\"``, ``\\`` and their kin are undone in the fields; ``_raw`` has the line as it was written.

Source: Apache HTTP Server 2.4, mod_log_config and core (ErrorLogFormat); nginx, ngx_http_log_module and ngx_log.c;
Squid, logformat ``squid``; W3C Extended Log File Format for the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from mingjian.errors import ParseError
from mingjian.formats.tables import first_lines, found_at_most, mostly, read_lines
from mingjian.formats.text import is_text
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.times import iso_with_year
from mingjian.model.values import Record, Value

EXTRA_MAX = 64
"""So many further fields behind the known ones are kept apart; ``_raw`` has them all."""

_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_STAMP = r"\[([0-9]{1,2}/[A-Za-z]{3}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})? [+-][0-9]{4})\]"
# The part before the time has no '[' except in a user name, which is then read the slow way.
_ACCESS = re.compile(rf"([^\[]*+){_STAMP} {_QUOTED} ([0-9]{{3}}) ([0-9]++|-)(?: {_QUOTED} {_QUOTED})?(.*)", re.DOTALL)
_STAMP_ANYWHERE = re.compile(_STAMP + ' "')
_AFTER_REQUEST = re.compile(r'" ([0-9]{3}) ([0-9]{1,20}|-)(?= |$)')
_REQUEST = re.compile(r"([A-Za-z][A-Za-z_-]{0,31}) (.*?)(?: (HTTP/[0-9](?:\.[0-9])?))?", re.DOTALL)
_HOST_PORT = re.compile(r"(.+):([0-9]{1,5})")
_EXTRA = re.compile(rf"{_QUOTED}|(\S++)")
_FORWARDED = re.compile(r"[0-9A-Fa-f.:\[\]]{3,45}(?:, ?[0-9A-Fa-f.:\[\]]{3,45}|, ?unknown){0,32}")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED_BYTES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "v": b"\v", "f": b"\f"}
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://([^/?#]*+)")
_SQUID = re.compile(
    r"([0-9]{9,11}\.[0-9]{3}) ++(-?[0-9]++) (\S++) ([A-Z_]++)/([0-9]{3}) ([0-9]++) "
    r"(\S++) (\S++) (\S++) (\S++) (\S++)(.*)"
)
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})$")

_APACHE_ERROR = re.compile(
    r"\[([A-Za-z]{3} [A-Za-z]{3} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})? [0-9]{4})\] "
    r"\[(?:([\w-]*+):)?(\w++)\] (?:\[pid ([0-9]++)(?::tid ([0-9]++))?\] )?(.*)",
    re.DOTALL,
)
_APACHE_PEER = re.compile(r"(?:\[(?:client|remote) ([^\]\s]++(?:\]:[0-9]{1,5})?)\] )?(?:(AH[0-9]{5}): )?")
_APACHE_REFERER = re.compile(r", referer: (\S++)$")
_NGINX_ERROR = re.compile(
    r"([0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) \[(\w++)\] ([0-9]++)#([0-9]++): "
    r"(?:\*([0-9]++) )?(.*)",
    re.DOTALL,
)
_NGINX_PART = re.compile(rf", (client|server|request|upstream|host|referrer): (?:{_QUOTED}|([^,]*+))")

_NGINX_NAMES = {"client": "c-ip", "host": "cs-host", "referrer": "cs-referer"}


def recognise(head: bytes, name: str) -> bool:
    """Whether most of the first lines are access log lines (Apache, nginx, Squid)."""
    return mostly(first_lines(head), lambda line: _ACCESS.match(line) or _SQUID.match(line))


def recognise_errors(head: bytes, name: str) -> bool:
    """Whether most of the first lines are error log lines (Apache, nginx)."""
    return mostly(first_lines(head), lambda line: _APACHE_ERROR.match(line) or _NGINX_ERROR.match(line))


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read access logs. A line that is none is quarantined."""
    return read_lines(piece, "weblog", _parse_access)


def read_errors(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read error logs.

    A line without a header is what some program wrote to the error stream of the server: an event with ``message``
    alone, unless it is not text, which is quarantined.
    """
    return read_lines(piece, "weberror", _parse_error)


def _parse_access(line: str, modified_at_s: float | None) -> Record | None:
    if not line.strip():
        return None
    record: Record = {"_raw": line}
    if not add_access_fields(line, record):
        raise ParseError("not an access log line")
    return record


def _parse_error(line: str, modified_at_s: float | None) -> Record | None:
    if not line.strip():
        return None
    record: Record = {"_raw": line}
    if not add_error_fields(line, record):
        if not is_text(line.encode("utf-8", "surrogateescape")):
            raise ParseError("not an error log line, and not text")
        record["message"] = line
    return record


def add_access_fields(line: str, record: Record) -> bool:
    """Add the fields of an access log line to a record; False (and nothing added) if it is none."""
    if found := _ACCESS.match(line):
        before, stamp, request, status, size, referer, agent, rest = found.groups()
    elif squid := _SQUID.match(line):
        _add_squid(squid, record)
        return True
    elif (parts := _unescaped_access(line)) is not None:
        before, stamp, request, status, size, referer, agent, rest = parts
    else:
        return False
    record["timestamp"] = stamp
    record["time"] = _iso(stamp)
    _add_client(before.split(), record)
    _add_request(request, record)
    record["sc-status"] = status
    for name, text in (("sc-bytes", size), ("cs-referer", referer), ("cs-user-agent", agent)):
        if text is not None and text != "-":
            record[name] = _unescape(text)
    if rest:
        _add_extra(rest, record)
    return True


def _unescaped_access(line: str) -> tuple[str, str, str, str, str, str | None, str | None, str] | None:
    """The parts of a line whose writer did not escape quotes, or whose user name has brackets in it."""
    stamp = _STAMP_ANYWHERE.search(line)
    after = _AFTER_REQUEST.search(line, stamp.end()) if stamp else None
    if stamp is None or after is None:
        return None
    request, rest = line[stamp.end() : after.start()], line[after.end() :]
    referer = agent = None
    if rest.startswith(' "') and rest.endswith('"') and '" "' in rest[2:]:
        referer, _, agent = rest[2:-1].partition('" "')
        rest = ""
    return line[: stamp.start()], stamp[1], request, after[1], after[2], referer, agent, rest


def _add_client(words: list[str], record: Record) -> None:
    """Read what stands before the time: ``[vhost[:port]] client ident user``."""
    if words and words[0].endswith(","):  # several addresses from X-Forwarded-For
        count = 1
        while count < len(words) and words[count - 1].endswith(","):
            count += 1
        record["x-forwarded-for"] = " ".join(words[:count])
        words = [words[0][:-1], *words[count:]]
    if len(words) >= 4 and (words[2] == "-" or (":" in words[0] and _HOST_PORT.fullmatch(words[0]))):
        host_port = _HOST_PORT.fullmatch(words[0])
        record["cs-host"] = host_port[1] if host_port else words[0]
        if host_port:
            record["s-port"] = host_port[2]
        words = words[1:]
    if words:
        record["c-ip"] = words[0]
    user = " ".join(words[2:])
    if user and user != "-":
        record["cs-username"] = _unescape(user)


def _add_request(request: str, record: Record) -> None:
    found = _REQUEST.fullmatch(request)
    if found is None:
        if request != "-":
            record["request"] = _unescape(request)
        return
    method, target, version = found.groups()
    record["cs-method"] = method
    if version:
        record["cs-version"] = version
    add_target(_unescape(target), record)


def add_target(target: str, record: Record) -> None:
    """Add a request target as a whole and in parts."""
    stem, mark, query = target.partition("?")
    record["cs-uri"] = target
    record["cs-uri-stem"] = stem
    if mark:
        record["cs-uri-query"] = query
    record["cs-uri-any"] = list[Value]((target, stem, query)) if mark else target
    if "://" in stem and (origin := _ORIGIN.match(stem)) and "cs-host" not in record:
        record["cs-host"] = origin[1].rpartition("@")[2]


def _add_extra(rest: str, record: Record) -> None:
    extra: list[Value] = []
    for found in _EXTRA.finditer(rest):
        if len(extra) == EXTRA_MAX:
            break
        extra.append(_unescape(found[1]) if found[1] is not None else found[2])
    if extra:
        record["extra"] = extra
        forwarded = next((text for text in extra if isinstance(text, str) and _is_forwarded(text)), None)
        if forwarded is not None:
            record.setdefault("x-forwarded-for", forwarded)


def _is_forwarded(text: str) -> bool:
    return ("." in text or ":" in text) and text.count(".") != 1 and _FORWARDED.fullmatch(text) is not None


def _add_squid(found: re.Match[str], record: Record) -> None:
    stamp, taken_ms, client, action, status, size, method, url, user, hierarchy, mime, rest = found.groups()
    record["timestamp"] = stamp
    record["time-taken"] = taken_ms
    record["c-ip"] = client
    record["s-action"] = action
    record["sc-status"] = status
    record["sc-bytes"] = size
    record["cs-method"] = method
    record["s-hierarchy"] = hierarchy
    add_target(url, record)
    record["c-uri"] = url
    if extension := _EXTENSION.search(str(record["cs-uri-stem"])):
        record["c-uri-extension"] = extension[1]
    if method == "CONNECT" and "cs-host" not in record:
        record["cs-host"] = url.rpartition(":")[0] or url
    for name, text in (("cs-username", user), ("cs-mime-type", mime)):
        if text != "-":
            record[name] = text
    if rest.strip():
        _add_extra(rest, record)


def add_error_fields(line: str, record: Record) -> bool:
    """Add the fields of an error log line to a record; False (and nothing added) if it is none."""
    if found := _APACHE_ERROR.match(line):
        stamp, module, level, pid, thread, message = found.groups()
        record["timestamp"] = stamp
        moment = iso_with_year(stamp, None)
        peer = _APACHE_PEER.match(message)
        assert peer is not None  # every part of it is optional
        client, code = peer.groups()
        message = message[peer.end() :]
        if referer := _APACHE_REFERER.search(message[-4096:]):
            record["cs-referer"] = referer[1]
        _add_present(record, (("time", moment), ("module", module), ("pid", pid), ("tid", thread)))
        _add_present(record, (("error_code", code),))
        if client:
            # Version 2.4, which names the module, always writes a port, and does so without brackets for IPv6.
            address = _HOST_PORT.fullmatch(client) if module else None
            record["c-ip"] = (address[1] if address else client).strip("[]")
            if address:
                record["c-port"] = address[2]
    elif found := _NGINX_ERROR.match(line):
        stamp, level, pid, thread, connection, message = found.groups()
        record["timestamp"] = stamp
        _add_present(record, (("pid", pid), ("tid", thread), ("connection", connection)))
        record["time"] = f"{stamp[:10].replace('/', '-')}T{stamp[11:]}"
        for name, quoted, plain in found_at_most(_NGINX_PART, message, EXTRA_MAX):
            value = _unescape(quoted) if quoted else plain
            if name == "request":
                _add_request(value, record)
            elif value:
                record[_NGINX_NAMES.get(name, name)] = value
    else:
        return False
    record["level"] = level
    record["message"] = message
    return True


def _add_present(record: Record, fields: tuple[tuple[str, str | None], ...]) -> None:
    for name, value in fields:
        if value:
            record[name] = value


def _iso(stamp: str) -> str:
    """ISO 8601 of ``10/Oct/2000:13:55:36 -0700``; a stamp whose date is none stays as it is."""
    day, _, rest = stamp.partition(":")
    date = _iso_date(day)
    return f"{date}T{rest[:-6]}{rest[-5:-2]}:{rest[-2:]}" if date else stamp


@lru_cache(maxsize=4096)
def _iso_date(day: str) -> str | None:
    moment = iso_with_year(f"{day} 00:00:00", None)
    return moment[:10] if moment else None


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    pieces: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(text):
        pieces.append(text[end : found.start()].encode("utf-8", "surrogatepass"))
        if found[1]:
            pieces.append(bytes.fromhex(found[1]))
        else:
            pieces.append(_ESCAPED_BYTES.get(found[2]) or found[2].encode("utf-8", "surrogatepass"))
        end = found.end()
    pieces.append(text[end:].encode("utf-8", "surrogatepass"))
    return b"".join(pieces).decode("utf-8", "surrogateescape")
