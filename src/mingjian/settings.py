"""What a person can set, read once at start: a file ``mingjian.toml``, then the environment.

In: a folder to start from and the environment, as arguments. Out: one frozen ``Settings`` that is right by
construction. Never: a setting that is not in the table below, or one that changes while we run.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from mingjian.errors import ConfigError, shown

FILE_NAME = "mingjian.toml"
DATABASE_FILE = "state.db"
"""The state database of a workspace, unless the setting ``database`` names another."""
FILE_BYTES_MAX = 65_536
"""A larger settings file is refused (fails closed)."""
JOBS_MAX = 256
PER_MINUTE_MAX = 10_000_000
SECRET_BYTES_MAX = 4_096
FILE_MARK = "file:"
"""Before the path of a file that holds a secret."""
ENVIRONMENT_PREFIX = "MINGJIAN_"
ENVIRONMENT_OTHER = ("MINGJIAN_PYTHON", "MINGJIAN_TEST_DATA", "MINGJIAN_TEST_POSTGRESQL")
"""Variables with our prefix that are not settings: the first is for the bootstrap scripts, the others for tests."""

Language: TypeAlias = Literal["en", "zh"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
Given: TypeAlias = object
"""What a file (any TOML value) or the environment (text) gives for a key, not yet checked."""

_T = TypeVar("_T", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNotes:
    """What the manual says about one key, in both languages, and how its value is checked."""

    name: str
    kind: str
    unit: str
    default: str
    line_en: str
    line_zh: str
    parse: Callable[[Given, Path], object]
    """Checks one given value; a path in it is relative to the folder. Raises ValueError with what is allowed."""
    secret: bool = False
    """The value may hold a password: no message shows it."""


def _parse_jobs(given: Given, folder: Path) -> int:
    text = given if isinstance(given, str) else str(given)
    if isinstance(given, bool) or not (text.isascii() and text.isdigit()) or int(text) > JOBS_MAX:
        raise ValueError(f"a whole number from 0 to {JOBS_MAX}")
    return int(text) or processors()


def _parse_folder(given: Given, folder: Path) -> Path:
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError("the path of a folder")
    return folder / Path(given).expanduser()


def _parse_optional(given: Given, folder: Path) -> Path | None:
    return None if given == "none" else _parse_folder(given, folder)


def _parse_database(given: Given, folder: Path) -> str:
    if given == DATABASE_FILE:
        return DATABASE_FILE
    if not isinstance(given, str) or not given.startswith(("postgresql://", "postgresql+psycopg://")):
        raise ValueError(f"{DATABASE_FILE}, or the URL of a PostgreSQL database")
    return given.replace("postgresql://", "postgresql+psycopg://", 1) if given.startswith("postgresql://") else given


def _parse_issuer(given: Given, folder: Path) -> str:
    if given == "none":
        return ""
    # The exact address counts: an issuer states itself in every token. What else it must be, formats.openid says.
    if not isinstance(given, str) or not given.startswith(("https://", "http://")) or not given.isprintable():
        raise ValueError("none, or the address of an issuer")
    return given


def _parse_text(given: Given, folder: Path) -> str:
    if not isinstance(given, str) or not given.isprintable() or len(given) > 500:
        raise ValueError("text of at most 500 characters")
    return "" if given == "none" else given


def _parse_secret(given: Given, folder: Path) -> str:
    if not isinstance(given, str):
        raise ValueError(f"a secret, or {FILE_MARK} and the path of a file that holds it")
    if not given.startswith(FILE_MARK):
        return "" if given == "none" else given
    path = folder / Path(given.removeprefix(FILE_MARK)).expanduser()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"the path of a file that can be read ({error.strerror})") from None
    if mode & 0o077 or len(data) > SECRET_BYTES_MAX:
        raise ValueError(f"the path of a file of at most {SECRET_BYTES_MAX:,} bytes that only its owner may read")
    return data.decode("utf-8", "replace").strip()


def _parse_per_minute(given: Given, folder: Path) -> int:
    text = given if isinstance(given, str) else str(given)
    if isinstance(given, bool) or not (text.isascii() and text.isdigit()) or int(text) > PER_MINUTE_MAX:
        raise ValueError(f"a whole number from 0 to {PER_MINUTE_MAX}")
    return int(text)


def _parse_addresses(given: Given, folder: Path) -> tuple[str, ...]:
    if given == "none":
        return ()
    try:
        if not isinstance(given, str):
            raise ValueError
        return tuple(str(ipaddress.ip_network(each.strip(), strict=False)) for each in given.split(","))
    except ValueError:
        raise ValueError("none, or addresses or networks with commas between them") from None


def _parse_truth(given: Given, folder: Path) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False}
    text = str(given).lower() if isinstance(given, bool | str) else ""
    if text not in known:
        raise ValueError("true or false")
    return known[text]


def _one_of(allowed: tuple[_T, ...]) -> Callable[[Given, Path], _T]:
    def parse(given: Given, folder: Path) -> _T:
        for value in allowed:
            if given == value:
                return value
        raise ValueError("one of " + ", ".join(allowed))

    return parse


KEYS: tuple[KeyNotes, ...] = (
    KeyNotes(
        name="jobs",
        kind="whole number, 0 to 256",
        unit="processes",
        default="0",
        line_en="How many processes read and match at the same time; 0 means one for each processor we may use.",
        line_zh="同时读取和匹配的进程数；0 表示可用的每个处理器各一个。",
        parse=_parse_jobs,
    ),
    KeyNotes(
        name="cache_folder",
        kind="path",
        unit="–",
        default="$XDG_CACHE_HOME/mingjian, else ~/.cache/mingjian",
        line_en="Where compiled rule sets are kept between runs. It may be deleted at any time.",
        line_zh="编译后的规则集存放在这里，供下次启动使用；随时可以删除。",
        parse=_parse_folder,
    ),
    KeyNotes(
        name="language",
        kind="en or zh",
        unit="–",
        default="en",
        line_en="Language of reports that exist in both languages.",
        line_zh="双语报告所用的语言。",
        parse=_one_of(("en", "zh")),
    ),
    KeyNotes(
        name="log_level",
        kind="debug, info, warning or error",
        unit="–",
        default="warning",
        line_en="The least important kind of log line that is written to stderr.",
        line_zh="写入标准错误输出的日志的最低级别。",
        parse=_one_of(("debug", "info", "warning", "error")),
    ),
    KeyNotes(
        name="database",
        kind="state.db or URL",
        unit="–",
        default=DATABASE_FILE,
        line_en="Where the state of the workspace is: the file state.db in it, or the URL of a PostgreSQL database.",
        line_zh="工作区的状态存放在哪里：工作区中的 state.db 文件，或一个 PostgreSQL 数据库的 URL。",
        parse=_parse_database,
        secret=True,
    ),
    KeyNotes(
        name="keep_raw",
        kind="true or false",
        unit="–",
        default="false",
        line_en="Whether the lake also keeps the bytes that each event was made of. The manual states what that costs.",
        line_zh="数据湖是否同时保存每条日志事件的原始字节；代价见手册。",
        parse=_parse_truth,
    ),
    KeyNotes(
        name="placeholders",
        kind="path",
        unit="–",
        default="none",
        line_en="A YAML or JSON file with the values of the placeholders in rules, unless the command names another.",
        line_zh="规则中占位符取值的 YAML 或 JSON 文件；命令另行指定时以命令为准。",
        parse=_parse_optional,
    ),
    KeyNotes(
        name="proxies",
        kind="addresses or networks",
        unit="–",
        default="none",
        line_en="Reverse proxies before the console, with commas between them: who asks, and whether by HTTPS, is "
        "believed from them alone (X-Forwarded-For, X-Forwarded-Proto).",
        line_zh="控制台之前的反向代理，用逗号分隔：请求者的地址以及是否使用 HTTPS，只采信它们给出的 "
        "X-Forwarded-For 和 X-Forwarded-Proto。",
        parse=_parse_addresses,
    ),
    KeyNotes(
        name="account_requests_per_minute",
        kind="whole number",
        unit="requests per minute",
        default="6000",
        line_en="So many requests may come in the name of one session or one API token; 0 is no limit. Each process "
        "of the console counts by itself.",
        line_zh="一个会话或一个 API 令牌每分钟最多的请求数；0 表示不限。控制台的每个进程各自计数。",
        parse=_parse_per_minute,
    ),
    KeyNotes(
        name="address_requests_per_minute",
        kind="whole number",
        unit="requests per minute",
        default="30000",
        line_en="So many requests may come from one address (of IPv6: from one /64), whoever asks; 0 is no limit. Each "
        "process of the console counts by itself.",
        line_zh="一个地址（IPv6 按 /64 计）每分钟最多的请求数，不论是谁；0 表示不限。控制台的每个进程各自计数。",
        parse=_parse_per_minute,
    ),
    KeyNotes(
        name="sign_in_requests_per_minute",
        kind="whole number",
        unit="requests per minute",
        default="120",
        line_en="So many requests to sign in, by whatever means, may come from one address; 0 is no limit. Tries with "
        "a wrong password are counted besides, for all processes together.",
        line_zh="一个地址每分钟最多的登录请求数，不论用何种方式；0 表示不限。输错密码的次数另行计数，"
        "所有进程合并计算。",
        parse=_parse_per_minute,
    ),
    KeyNotes(
        name="openid_issuer",
        kind="URL",
        unit="–",
        default="none",
        line_en="The identity provider (OpenID Connect) by which people may sign in: its issuer, exactly as it states "
        "itself.",
        line_zh="可用于登录的身份提供方（OpenID Connect）：其 issuer，须与其自身声明完全一致。",
        parse=_parse_issuer,
    ),
    KeyNotes(
        name="openid_client",
        kind="text",
        unit="–",
        default="none",
        line_en="The client id that the identity provider has given this console.",
        line_zh="身份提供方为本控制台分配的 client id。",
        parse=_parse_text,
    ),
    KeyNotes(
        name="openid_secret",
        kind="text, or file: and a path",
        unit="–",
        default="none",
        line_en="The secret of this client, or the file that holds it; none for a client without one.",
        line_zh="该 client 的密钥，或保存密钥的文件；没有密钥时为 none。",
        parse=_parse_secret,
        secret=True,
    ),
    KeyNotes(
        name="openid_organisation",
        kind="text",
        unit="–",
        default="none",
        line_en="The organisation in which somebody gets a role who comes from the identity provider for the first "
        "time; * for all. With none, only those come in who linked their identity to an account.",
        line_zh="首次经身份提供方登录的人在哪个单位获得角色；* 表示全部单位。"
        "为 none 时，只有已把身份关联到账号的人可以登录。",
        parse=_parse_text,
    ),
    KeyNotes(
        name="openid_role",
        kind="reader, analyst or auditor",
        unit="–",
        default="reader",
        line_en="The role that they get there.",
        line_zh="他们在那里获得的角色。",
        parse=_one_of(("reader", "analyst", "auditor")),
    ),
)
"""Every setting there is, in the order of the manual."""

_KEY_OF_NAME = {key.name: key for key in KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one run. ``KEYS`` says what each means; here the values are already checked."""

    jobs: int = field(default_factory=lambda: processors())
    """At least 1."""
    cache_folder: Path = field(default_factory=lambda: user_cache_folder(os.environ))
    language: Language = "en"
    log_level: LogLevel = "warning"
    database: str = field(default=DATABASE_FILE, repr=False)
    """It may hold a password."""
    keep_raw: bool = False
    placeholders: Path | None = None
    proxies: tuple[str, ...] = ()
    account_requests_per_minute: int = 6_000
    address_requests_per_minute: int = 30_000
    sign_in_requests_per_minute: int = 120
    openid_issuer: str = ""
    """Empty: nobody signs in by an identity provider."""
    openid_client: str = ""
    openid_secret: str = field(default="", repr=False)
    openid_organisation: str = ""
    """Empty: nobody gets an account by signing in."""
    openid_role: Literal["reader", "analyst", "auditor"] = "reader"
    file: Path | None = None
    """The file that was read, if there was one."""


def processors() -> int:
    """Count the processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def user_cache_folder(environment: Mapping[str, str]) -> Path:
    """Say where a user's caches are kept.

    A relative ``XDG_CACHE_HOME`` is ignored. Source: XDG Base Directory Specification 0.8, section 3.

    >>> user_cache_folder({"XDG_CACHE_HOME": "/var/cache"}).as_posix()
    '/var/cache/mingjian'
    """
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "mingjian"


def find_file(folder: Path) -> Path | None:
    """Look for ``mingjian.toml`` in a folder, then in the folders above it; None if there is none."""
    for place in (folder, *folder.parents):
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
    return None


def load(folder: Path, environment: Mapping[str, str]) -> Settings:
    """Read the settings that hold for work in one folder.

    The environment (``MINGJIAN_JOBS`` …) wins over the file, the file over the defaults. Relative paths are relative
    to the file, in the environment to ``folder``.

    Raises:
        ConfigError: an unknown key, a value that is not allowed, a file that cannot be read or that belongs to
            somebody else (its cache folder could hold rule sets of theirs).
    """
    values: dict[str, object] = {"cache_folder": user_cache_folder(environment)}
    path = find_file(folder.absolute())
    if path is not None:
        values["file"] = path
        for name, given in _read_file(path).items():
            values[name] = _checked(name, given, path.parent, where=str(path))
    for variable, given in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in ENVIRONMENT_OTHER:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            values[name] = _checked(name, given, folder.absolute(), where=variable)
    if values.get("openid_issuer") and not values.get("openid_client"):
        raise ConfigError("openid_issuer is set, and openid_client is not", hint="the identity provider gives it out")
    return Settings(**values)  # pyright: ignore[reportArgumentType] - each value went through the parser of its key


_IN_CHINESE = {
    "whole number, 0 to 256": "整数，0 至 256",
    "path": "路径",
    "en or zh": "en 或 zh",
    "debug, info, warning or error": "debug、info、warning 或 error",
    "processes": "进程",
    "state.db or URL": "state.db 或 URL",
    "true or false": "true 或 false",
    "none": "无",
    "addresses or networks": "地址或网段",
    "whole number": "整数",
    "requests per minute": "请求/分钟",
    "text": "文本",
    "text, or file: and a path": "文本，或 file: 加路径",
    "reader, analyst or auditor": "reader、analyst 或 auditor",
    "$XDG_CACHE_HOME/mingjian, else ~/.cache/mingjian": "$XDG_CACHE_HOME/mingjian，否则 ~/.cache/mingjian",
}


def table(language: Language) -> str:
    """Write the table of all settings as it stands in ``docs/<language>/reference/settings.md``."""
    heads = {
        "en": "| key | environment | type | unit | default | what it is |",
        "zh": "| 键 | 环境变量 | 类型 | 单位 | 默认值 | 说明 |",
    }
    rows = [heads[language], "|---|---|---|---|---|---|"]
    for key in KEYS:
        words = (key.kind, key.unit, key.default)
        if language == "zh":
            words = tuple(_IN_CHINESE.get(word, word) for word in words)
        line = key.line_en if language == "en" else key.line_zh
        variable = ENVIRONMENT_PREFIX + key.name.upper()
        rows.append(f"| `{key.name}` | `{variable}` | {words[0]} | {words[1]} | `{words[2]}` | {line} |")
    return "\n".join(rows) + "\n"


def _read_file(path: Path) -> dict[str, object]:
    if hasattr(os, "getuid") and path.stat().st_uid not in (0, os.getuid()):
        raise ConfigError(
            "the settings file belongs to another user", where=str(path), hint="copy it, or work in another folder"
        )
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"larger than FILE_BYTES_MAX allows ({FILE_BYTES_MAX})", where=str(path))
        return dict(tomllib.loads(data.decode("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not TOML: {shown(str(error))}", where=str(path)) from error


def _checked(name: str, given: Given, folder: Path, *, where: str) -> object:
    key = _KEY_OF_NAME.get(name)
    if key is None:
        known = ", ".join(_KEY_OF_NAME)
        raise ConfigError(f"unknown setting {shown(name)}", where=where, hint=f"there are: {known}")
    try:
        return key.parse(given, folder)
    except ValueError as error:
        what = "not shown here" if key.secret else shown(given)
        raise ConfigError(f"{name} is {what}", where=where, hint=f"it must be {error}") from error
