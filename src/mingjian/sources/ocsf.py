"""Events and detections in OCSF: a view, computed when somebody asks; nothing is stored in it.

Which class an event is of and where its attributes stand is said by the source definitions (``ocsf``); what each class
must have is in ``data/ocsf.yml``. What the event does not tell is *Unknown*, never made up. An event that lacks what
its class is about goes out as a base event (class 0) with everything in ``unmapped``; so does one of a stream without
a class. A value that its attribute cannot hold (a port of 70,000) goes to ``unmapped`` under its attribute's path.

Source: Open Cybersecurity Schema Framework, schema.ocsf.io, the version in ``data/ocsf.yml``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final, TypeAlias

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.formats.bounded import parse_yaml
from mingjian.formats.records import json_bytes
from mingjian.model.detections import Detection
from mingjian.model.sources import View
from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value
from mingjian.sources.envelope import envelope

UNKNOWN: Final = "Unknown"
TEXT_CHARACTERS_MAX: Final = 32_768
"""A longer text is cut: no attribute of OCSF is meant to hold a document."""
PRODUCT: Final = "Mingjian"
BASE: Final = 0
FINDING: Final = 2004
HTTP: Final = 4002
OTHER: Final = 99
INFORMATIONAL: Final = 1
NEW: Final = 1
CREATE: Final = 1
_INTEGER_MAX: Final = (1 << 31) - 1
_LONG_MAX: Final = (1 << 63) - 1
_LONGS: Final = ("bytes_in", "bytes_out")

Tree: TypeAlias = "dict[str, object]"


class _Class(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    category: int
    main: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    extension: str = ""


class Knowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``data/ocsf.yml`` says."""

    version: str
    categories: dict[int, str]
    classes: dict[int, _Class]
    types: dict[str, tuple[str, ...]]
    logon_types: tuple[int, ...]
    http_methods: dict[str, int]
    severities: dict[str, int]
    analytics: dict[str, int]
    activities: dict[str, int]


@cache
def knowledge() -> Knowledge:
    """Read what is known of the schema."""
    (document,) = parse_yaml((DATA_FOLDER / "ocsf.yml").read_bytes(), file="ocsf.yml")
    return msgspec.convert(document, Knowledge, strict=False)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event is: whose, when it came in, and how to find it again."""

    tenant: str
    """Public id of the organisation; empty if nobody said whose it is."""
    time_us: int | None
    received_us: int
    pointer: str
    """``FILE:NUMBER``."""


# --- values ----------------------------------------------------------------------------------------------------------


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()[:TEXT_CHARACTERS_MAX]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json_bytes({"value": value}).decode("utf-8", "backslashreplace")[9:-1][:TEXT_CHARACTERS_MAX]


def _integer(value: Value, low: int = -_INTEGER_MAX - 1, high: int = _INTEGER_MAX) -> int | None:
    if isinstance(value, bool | list | dict) or value is None or value is EMPTY:
        return None
    text = _text(value).strip().lower()
    try:
        number = int(text, 16) if text.startswith("0x") else int(float(text)) if "." in text else int(text)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def _long(value: Value) -> int | None:
    return _integer(value, 0, _LONG_MAX)


def _port(value: Value) -> int | None:
    return _integer(value, 0, 65_535)


def _ip(value: Value) -> str | None:
    try:
        return str(ipaddress.ip_address(_text(value).strip().partition("%")[0]))
    except ValueError:
        return None


def _email(value: Value) -> str | None:
    name, _, domain = (text := _text(value).strip()).rpartition("@")
    is_plain = bool(name) and "." in domain.strip(".") and text.isascii() and text.isprintable()
    return text if is_plain and not any(mark in text for mark in ' ,;:<>()[]"\\') else None


def _texts(value: Value) -> list[str]:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return [part for part in _text(value).split() if part]


_KINDS: Final[Mapping[str, Callable[[Value], object]]] = {
    "integer": _integer,
    "port": _port,
    "ip": _ip,
    "email": _email,
    "json": _text,
    "texts": _texts,
}


@cache
def _converter(name: str) -> Callable[[Value], object]:
    if name in _LONGS:
        return _long
    return next((_KINDS[kind] for kind, names in knowledge().types.items() if name in names), _text)


def _set(tree: Tree, path: str, value: object) -> bool:
    """Put a value where it belongs; False if the path leads through another value."""
    *parents, last = path.split(".")
    for name in parents:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            return False
        tree = inner  # pyright: ignore[reportUnknownVariableType] - objects in objects
    tree[last] = value
    return True


def _get(tree: Tree, path: str) -> object:
    found: object = tree
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]  # pyright: ignore[reportUnknownVariableType] - objects in objects
    return found  # pyright: ignore[reportUnknownVariableType] - objects in objects


# --- what classes must have ------------------------------------------------------------------------------------------


def _complete(tree: Tree) -> None:
    """Fill in what objects must have, deepest first; take out what is left empty."""
    for name in list(tree):
        inner = tree[name]
        if isinstance(inner, dict) and name != "unmapped":
            _complete(inner)  # pyright: ignore[reportUnknownArgumentType] - objects in objects
            finish = _OBJECTS.get(name)
            if finish is not None and not finish(inner):  # pyright: ignore[reportUnknownArgumentType] - objects in objects
                del tree[name]


def _file(tree: Tree) -> bool:
    path = str(tree.get("path", ""))
    tree.setdefault("name", path.replace("/", "\\").rstrip("\\").rpartition("\\")[2] or path or UNKNOWN)
    tree.setdefault("type_id", 0)
    return True


def _process(tree: Tree) -> bool:
    if "pid" not in tree:
        tree.setdefault("uid", UNKNOWN)
    return True


def _user(tree: Tree) -> bool:
    if "uid" not in tree:
        tree.setdefault("name", tree.get("email_addr", UNKNOWN))
    return True


def _value_of_registry(tree: Tree) -> bool:
    path = str(tree.get("path", ""))
    tree.setdefault("name", path.rpartition("\\")[2] or UNKNOWN)
    tree.setdefault("path", UNKNOWN)
    return True


def _url(tree: Tree) -> bool:
    if "url_string" not in tree:
        tree.setdefault("path", "/")
    return True


def _request(tree: Tree) -> bool:
    method = str(tree.pop("http_method", "")).upper()
    if method in knowledge().http_methods:
        tree["http_method"] = method
    return bool(tree)


def _with(**values: object) -> Callable[[Tree], bool]:
    def fill(tree: Tree) -> bool:
        for name, value in values.items():
            tree.setdefault(name, value)
        return True

    return fill


def _having(name: str) -> Callable[[Tree], bool]:
    return lambda tree: name in tree


_OBJECTS: Final[Mapping[str, Callable[[Tree], bool]]] = {
    "file": _file,
    "process": _process,
    "parent_process": _process,
    "source_process": _process,
    "user": _user,
    "device": _with(type_id=0),
    "module": _with(load_type_id=0),
    "driver": _having("file"),
    "script": _with(type_id=0),
    "tls": _with(version=UNKNOWN),
    "connection_info": _with(direction_id=0),
    "cloud": _with(provider=UNKNOWN),
    "reg_key": _with(path=UNKNOWN),
    "prev_reg_key": _with(path=UNKNOWN),
    "reg_value": _value_of_registry,
    "prev_reg_value": _value_of_registry,
    "win_service": _with(name=UNKNOWN),
    "url": _url,
    "http_request": _request,
    "http_response": _having("code"),
    "query": _having("hostname"),
    "api": _with(operation=UNKNOWN),
    "group": _with(name=UNKNOWN),
}
_NEEDED: Final[Mapping[str, Callable[[Tree], object]]] = {
    "actor": lambda _: {"app_name": UNKNOWN},
    "device": lambda _: {"name": UNKNOWN, "type_id": 0},
    "src_endpoint": lambda tree: None if "dst_endpoint" in tree else {"name": UNKNOWN},
    "service": lambda tree: None if "dst_endpoint" in tree else {"name": UNKNOWN},
    "log_name": lambda _: UNKNOWN,
}


def event_of(view: View, record: Record, where: Where, titles: Mapping[str, str]) -> Tree:
    """One event in OCSF. ``titles``: id of a source definition → its title."""
    stream = view.stream
    tree: Tree = {}
    unmapped: Tree = {}
    for path, name in stream.ocsf_paths.items():
        value: Value | Missing = view.value(record, name)
        if value is MISSING or value is None or value is EMPTY or value in ("", "-"):
            continue
        assert not isinstance(value, Missing), "checked above"
        made = _converter(path.rpartition(".")[2])(value)
        if made is None or made == [] or not _set(tree, path, made):
            unmapped[path] = _text(value)
    seen = envelope(view, record)
    if seen.host and _get(tree, "device.hostname") is None and "device" not in tree:
        tree["device"] = {"hostname": seen.host}
    if stream.ocsf_class == FINDING:
        info = tree.setdefault("finding_info", {})
        assert isinstance(info, dict), "finding_info is an object"
        info.setdefault("uid", where.pointer)  # pyright: ignore[reportUnknownMemberType] - objects in objects
    number = _classify(stream.ocsf_class, stream.name, tree)
    about = knowledge().classes[number]
    if number == BASE:
        tree = {name: tree[name] for name in ("device", "metadata") if name in tree} | {"unmapped": dict(record)}
        _complete(tree)
    else:
        for name in about.needed:
            filled = None if name in tree else _NEEDED[name](tree) if name in _NEEDED else None
            if filled is not None:
                tree[name] = filled
        if unmapped:
            tree["unmapped"] = unmapped
    return _framed(number, tree, where, stream.name, titles.get(stream.source, stream.source) or UNKNOWN)


def _classify(wanted: int | None, stream: str, tree: Tree) -> int:
    """The class that an event with these attributes can be of; completes them."""
    about = knowledge().classes.get(wanted or BASE)
    logon = _get(tree, "logon_type_id")
    if logon is not None and logon not in knowledge().logon_types:
        tree["logon_type_id"] = OTHER
    method = str(_get(tree, "http_request.http_method") or "").upper()
    _complete(tree)
    if about is None or not wanted or any(_get(tree, path) is None for path in about.main):
        return BASE
    activity = knowledge().activities.get(stream, 0)
    if wanted == HTTP and method:
        activity = knowledge().http_methods.get(method, OTHER)
    tree["activity_id"] = activity
    return wanted


def _framed(number: int, tree: Tree, where: Where, stream: str, product: str) -> Tree:
    """Put around an event what every one of them has."""
    about = knowledge().classes[number]
    activity = tree.pop("activity_id", 0)
    assert isinstance(activity, int), "activities are numbers"
    metadata = tree.pop("metadata", {})
    assert isinstance(metadata, dict), "metadata is an object"
    profiles = [name for name, attributes in (("cloud", ("cloud",)), ("host", ("actor", "device")))
                if any(each in tree for each in attributes)]  # fmt: skip
    framed: Tree = {
        "activity_id": activity,
        "category_uid": about.category,
        "category_name": knowledge().categories[about.category],
        "class_uid": number,
        "class_name": about.name,
        "type_uid": number * 100 + activity,
        "severity_id": INFORMATIONAL,
        "time": (where.received_us if where.time_us is None else where.time_us) // 1000,
        "metadata": {
            "version": knowledge().version,
            "product": {"name": product},
            "profiles": profiles,
            **({"tenant_uid": where.tenant} if where.tenant else {}),
            "log_name": stream,
            "logged_time": where.received_us // 1000,
            "uid": where.pointer,
            **metadata,
        },
    }
    return framed | tree


def finding_of(
    found: Detection,
    where: Where,
    techniques: Callable[[str], tuple[str, Iterable[str]]],
) -> Tree:
    """One detection as a finding, known by its ``pointer``. ``techniques``: id → its name and those of its tactics."""
    table = knowledge()
    time_ms = (where.received_us if where.time_us is None else where.time_us) // 1000
    attacks: list[Tree] = []
    for each in found.attack:
        name, tactics = techniques(each)
        attack: Tree = {"technique": {"uid": each} | ({"name": name} if name else {})}
        several = [{"name": tactic} for tactic in tactics]
        attacks.append(attack | ({"tactics": several} if several else {}))
    info: Tree = {
        "uid": where.pointer,
        "title": found.rule_title,
        "created_time": where.received_us // 1000,
        "analytic": {"name": found.rule_title, "uid": found.rule_id, "type_id": table.analytics[found.kind]},
        "types": [found.kind],
    }
    if found.time_us is not None:
        info |= {"first_seen_time": time_ms, "last_seen_time": time_ms}
    if attacks:
        info["attacks"] = attacks
    if found.stream:
        info["data_sources"] = [found.stream]
    evidence: Tree = {"data": {"file": found.file, "record": found.record, "matched": found.matched}}
    tree: Tree = {
        "finding_info": info,
        "message": found.rule_title,
        "status_id": NEW,
        "severity_id": table.severities[found.level],
    }
    if found.host:
        tree["device"] = {"hostname": found.host, "type_id": 0}
        evidence["device"] = dict(tree["device"])  # type: ignore[call-overload]  # an object, one line above
    if found.account:
        evidence["user"] = {"name": found.account}
    tree["evidences"] = [evidence]
    tree["activity_id"] = CREATE
    return _framed(FINDING, tree, where, found.stream or UNKNOWN, PRODUCT)
