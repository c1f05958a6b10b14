"""Source definitions: from YAML files to one compiled, cached book.

A *family* says how producers wrap their records (layouts); a *source* says what the records of one product or channel
are (streams, log sources, fields, time, host, account, observables, OCSF). The format of the files is
``docs/en/reference/sources.md``. A bad definition is named and skipped; the others load.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.errors import ConfigError, InputError
from mingjian.model import sources as model_sources
from mingjian.model.rules import LogSource
from mingjian.model.sources import Layout, ObservableKind, Observation, Stream

DEFINITION_FILES_MAX: Final = 2_000
"""So many definition files are loaded; what comes later is skipped by name."""

DEFINITION_BYTES_MAX: Final = 524_288
"""The largest definition file."""

SOURCE_ORDER: Final = 100
"""Order of a source that names none. Sources of a family are tried in rising order, then by id."""

OWN_FAMILY_ORDER: Final = 5
"""Order of the family that a source with its own layouts makes: before every built-in family."""

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
STREAM_NAME = re.compile(r"(?:[a-z0-9_.-]|\{[^{}/]{1,100}\})+(?:/(?:[a-z0-9_.-]|\{[^{}/]{1,100}\})+){0,5}")
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")

_Scalar: TypeAlias = str | int | float | bool
_How: TypeAlias = Literal["equals", "startswith", "endswith", "contains", "present", "absent"]


# --- what the files hold --------------------------------------------------------------------------------------------


class _HowFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    present: bool | None = None
    startswith: list[str] = []
    endswith: list[str] = []
    contains: list[str] = []
    equals: list[_Scalar] = []


_TestsFile: TypeAlias = dict[str, list[_Scalar] | _HowFile]


class _RecogniseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    present: list[str] = []
    absent: list[str] = []
    formats: list[str] = []
    equals: dict[str, list[_Scalar]] = {}
    startswith: dict[str, list[str]] = {}


class _LayoutFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    recognise: _RecogniseFile
    names: dict[str, list[str]] = {}
    search: tuple[str, ...] = ("",)


class _ObservableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    field: str
    kind: ObservableKind
    role: str
    split: str | None = None


class _OcsfFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_uid": "class"}):
    class_uid: int | None = None
    paths: dict[str, str] = {}


class _Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What families, sources and streams can all say of their records."""

    time: list[str] = []
    host: list[str] = []
    account: list[str] = []
    fields: dict[str, list[str]] = {}
    observables: list[_ObservableFile] = []
    ocsf: _OcsfFile = _OcsfFile()


class _FamilyFile(_Described, frozen=True, forbid_unknown_fields=True, kw_only=True):
    family: str
    order: int
    fallback: str
    identity: list[str] = []
    layouts: list[_LayoutFile]


class _ExtensionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    extends: str
    layouts: list[_LayoutFile]


class _LogSourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    product: str | None = None
    category: str | None = None
    service: str | None = None


class _StreamFile(_Described, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    when: _TestsFile = {}
    logsources: list[_LogSourceFile] = []


class _SourceFile(_Described, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str
    title: dict[Literal["en", "zh"], str]
    reference: str = ""
    family: str | None = None
    order: int = SOURCE_ORDER
    layouts: list[_LayoutFile] = []
    match: _TestsFile = {}
    logsources: list[_LogSourceFile] = []
    streams: list[_StreamFile]


# --- what they are compiled to --------------------------------------------------------------------------------------


class Test(msgspec.Struct, frozen=True, array_like=True):
    """One question about one canonical name of a record; it holds if the text of the value answers to any text."""

    name: str
    how: _How
    texts: tuple[str, ...] = ()
    """Case-folded."""


class Recognition(msgspec.Struct, frozen=True, array_like=True):
    """What a record must show for a layout to be its own. Everything that is given must hold."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    equals: tuple[tuple[str, tuple[str, ...]], ...] = ()
    startswith: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Described(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a family, a source or a stream says of its records. The narrower one wins."""

    time: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    observables: tuple[Observation, ...] = ()
    ocsf_class: int | None = None
    ocsf_paths: dict[str, str] = {}


class StreamPlan(msgspec.Struct, frozen=True, array_like=True):
    """A stream, or with placeholders in its name several alike, and when a record of the source belongs to it."""

    name: str
    when: tuple[Test, ...]
    logsources: tuple[LogSource, ...]
    described: Described


class SourcePlan(msgspec.Struct, frozen=True, array_like=True):
    """One source, compiled."""

    id: str
    family: str
    order: int
    title: dict[str, str]
    file: str
    match: tuple[Test, ...]
    streams: tuple[StreamPlan, ...]
    described: Described


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One family, compiled, with its sources in the order in which they are tried."""

    name: str
    order: int
    fallback: str
    identity: tuple[str, ...]
    """Every canonical name that a test or a stream name of the family looks at, sorted."""
    layouts: tuple[tuple[Layout, Recognition], ...]
    described: Described
    sources: tuple[SourcePlan, ...]


class SkippedDefinition(msgspec.Struct, frozen=True, array_like=True):
    """A definition that could not be used, and why."""

    file: str
    key: str
    """Where in the file: ``streams[2].when.EventID``; empty for the file as a whole."""
    reason: str


class SourceBook(msgspec.Struct, frozen=True, array_like=True):
    """All definitions that loaded, and the names of those that did not."""

    families: tuple[Family, ...]
    """In the order in which they are tried."""
    skipped: tuple[SkippedDefinition, ...] = ()

    def streams(self) -> tuple[Stream, ...]:
        """Every stream that a definition names, placeholders unfilled, in the order of the families and sources."""
        return tuple(
            stream_of(family, source, plan, plan.name)
            for family in self.families
            for source in family.sources
            for plan in source.streams
        )

    def logsources(self) -> frozenset[LogSource]:
        """Every log source that some stream declares: a rule whose log source none of them satisfies is never fed."""
        return frozenset(
            logsource
            for family in self.families
            for source in family.sources
            for plan in source.streams
            for logsource in plan.logsources
        )


class DefinitionFile(msgspec.Struct, frozen=True):
    """The bytes of one definition file. ``own`` marks the user's: they win over built-in ones with the same id."""

    name: str
    data: bytes
    own: bool = False


def stream_of(family: Family, source: SourcePlan, plan: StreamPlan, name: str) -> Stream:
    """Make a stream out of what its family, its source and its own plan say. The narrower one wins, field by field."""
    layers = (plan.described, source.described, family.described)
    observables: dict[Observation, None] = {}
    for layer in reversed(layers):
        observables.update(dict.fromkeys(layer.observables))
    return Stream(
        name=name,
        source=source.id,
        family=family.name,
        logsources=plan.logsources,
        fields={field: names for layer in reversed(layers) for field, names in layer.fields.items()},
        time=next((layer.time for layer in layers if layer.time), ()),
        host=next((layer.host for layer in layers if layer.host), ()),
        account=next((layer.account for layer in layers if layer.account), ()),
        observables=tuple(observables),
        ocsf_class=next((layer.ocsf_class for layer in layers if layer.ocsf_class is not None), None),
        ocsf_paths={path: where for layer in reversed(layers) for path, where in layer.ocsf_paths.items()},
    )


# --- compiling ------------------------------------------------------------------------------------------------------


class _Problem(Exception):
    """Carries the place of a mistake up to its file; never leaves this module."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


def _text(value: _Scalar) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value).casefold()


def _tests(tests: _TestsFile, key: str) -> tuple[Test, ...]:
    compiled: list[Test] = []
    for name, asked in tests.items():
        if isinstance(asked, list):
            asked = _HowFile(equals=asked)
        before = len(compiled)
        if asked.present is not None:
            compiled.append(Test(name, "present" if asked.present else "absent"))
        several: tuple[tuple[_How, Sequence[_Scalar]], ...] = (
            ("equals", asked.equals),
            ("startswith", asked.startswith),
            ("endswith", asked.endswith),
            ("contains", asked.contains),
        )
        for how, values in several:
            if values:
                compiled.append(Test(name, how, tuple(_text(value) for value in values)))
        if len(compiled) == before:
            raise _Problem(f"{key}.{name}", "asks for nothing: give values, or present, startswith, endswith, contains")
    return tuple(compiled)


def _described(said: _Described) -> Described:
    return Described(
        time=tuple(said.time),
        host=tuple(said.host),
        account=tuple(said.account),
        fields={field: tuple(names) for field, names in said.fields.items()},
        observables=tuple(
            Observation(field=o.field, kind=o.kind, role=o.role, split=o.split) for o in said.observables
        ),
        ocsf_class=said.ocsf.class_uid,
        ocsf_paths=said.ocsf.paths,
    )


def _layouts(layouts: list[_LayoutFile], family: str, formats: list[str]) -> tuple[tuple[Layout, Recognition], ...]:
    compiled: list[tuple[Layout, Recognition]] = []
    for index, layout in enumerate(layouts):
        asked = layout.recognise
        if not (asked.present or asked.formats or asked.equals or asked.startswith):
            raise _Problem(f"layouts[{index}].recognise", "recognises every record: name present, formats or equals")
        recognition = Recognition(
            present=tuple(asked.present),
            absent=tuple(asked.absent),
            formats=tuple(asked.formats or formats),
            equals=tuple((path, tuple(_text(v) for v in values)) for path, values in asked.equals.items()),
            startswith=tuple((path, tuple(_text(v) for v in values)) for path, values in asked.startswith.items()),
        )
        names = {name: tuple(paths) for name, paths in layout.names.items()}
        made = Layout(name=layout.name, family=family, names=names, search=layout.search)
        compiled.append((made, recognition))
    return tuple(compiled)


def _checked_name(name: str, key: str, pattern: re.Pattern[str] = NAME) -> str:
    if not pattern.fullmatch(name):
        raise _Problem(key, "only lower-case letters, digits, dot, dash, underline (streams: also / and {Name})")
    return name


def _family(file: _FamilyFile) -> Family:
    return Family(
        name=_checked_name(file.family, "family"),
        order=file.order,
        fallback=_checked_name(file.fallback, "fallback", STREAM_NAME),
        identity=tuple(file.identity),
        layouts=_layouts(file.layouts, file.family, []),
        described=_described(file),
        sources=(),
    )


def _source(file: _SourceFile, where: str) -> SourcePlan:
    if (file.family is None) == (not file.layouts):
        raise _Problem("family", "a source names its family, or gives its own layouts; one of the two")
    if "en" not in file.title:
        raise _Problem("title", "the English title is missing")
    if not file.streams:
        raise _Problem("streams", "a source needs at least one stream")
    streams: list[StreamPlan] = []
    for index, stream in enumerate(file.streams):
        key = f"streams[{index}]"
        logsources = dict.fromkeys(
            LogSource(asked.product, asked.category, asked.service) for asked in (*file.logsources, *stream.logsources)
        )
        if LogSource() in logsources:
            raise _Problem(f"{key}.logsources", "a log source names product, category or service")
        if not stream.when and index + 1 < len(file.streams):
            raise _Problem(f"{key}.when", "without `when` it takes all records: the streams after it are never reached")
        streams.append(
            StreamPlan(
                name=_checked_name(stream.name, f"{key}.name", STREAM_NAME),
                when=_tests(stream.when, f"{key}.when"),
                logsources=tuple(logsources),
                described=_described(stream),
            )
        )
    return SourcePlan(
        id=_checked_name(file.id, "id"),
        family=file.family or file.id,
        order=file.order,
        title={str(language): title for language, title in file.title.items()},
        file=where,
        match=_tests(file.match, "match"),
        streams=tuple(streams),
        described=_described(file),
    )


def _own_family(file: _SourceFile) -> Family:
    return Family(
        name=file.id,
        order=OWN_FAMILY_ORDER,
        fallback=f"{file.id}/other",
        identity=(),
        layouts=_layouts(file.layouts, file.id, []),
        described=Described(),
        sources=(),
    )


def _identity(family: Family, sources: Iterable[SourcePlan]) -> tuple[str, ...]:
    names = set(PLACEHOLDER.findall(family.fallback))
    for source in sources:
        names.update(test.name for test in source.match)
        for plan in source.streams:
            names.update(test.name for test in plan.when)
            names.update(PLACEHOLDER.findall(plan.name))
    return tuple(sorted(names))


class _Draft:
    """Definitions on their way into a book: what came later under a name that was there replaces it."""

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}
        self.extensions: dict[str, tuple[tuple[Layout, Recognition], ...]] = {}
        self.sources: dict[str, SourcePlan] = {}
        self.own: set[str] = set()
        self.skipped: list[SkippedDefinition] = []

    def add(self, file: DefinitionFile) -> None:
        """Take the definitions of one file in, or name them as skipped. A file may hold several YAML documents."""
        from mingjian.formats.bounded import parse_yaml  # not wanted, nor paid for, where the cache has the book

        try:
            documents = parse_yaml(file.data, file=file.name)
        except InputError as error:
            self.skipped.append(SkippedDefinition(file.name, "", str(error)))
            return
        for number, content in enumerate(documents, 1):
            if content is None:
                continue
            try:
                self._add(file, content)
            except msgspec.ValidationError as error:
                reason, _, key = str(error).partition(" - at `$")
                problem = _Problem(key.rstrip("`").lstrip("."), reason)
            except _Problem as found:
                problem = found
            else:
                continue
            key = problem.key if len(documents) == 1 else f"document {number}: {problem.key}"
            self.skipped.append(SkippedDefinition(file.name, key, problem.reason))

    def _add(self, file: DefinitionFile, content: object) -> None:
        if not isinstance(content, dict):
            raise _Problem("", "a definition is a map of keys")
        if "id" in content:
            parsed = msgspec.convert(content, _SourceFile)
            source = _source(parsed, file.name)
            self._claim(f"source {source.id}", file, taken=source.id in self.sources)
            if parsed.layouts:
                self._claim(f"family {source.id}", file, taken=source.id in self.families)
                self.families[source.id] = _own_family(parsed)
            self.sources[source.id] = source
        elif "extends" in content:
            extension = msgspec.convert(content, _ExtensionFile)
            layouts = _layouts(extension.layouts, extension.extends, [])
            self.extensions[extension.extends] = (*self.extensions.get(extension.extends, ()), *layouts)
        else:
            family = _family(msgspec.convert(content, _FamilyFile))
            self._claim(f"family {family.name}", file, taken=family.name in self.families)
            self.families[family.name] = family

    def _claim(self, noun: str, file: DefinitionFile, *, taken: bool) -> None:
        if taken and (not file.own or noun in self.own):
            raise _Problem("", f"{noun} is defined twice")
        if file.own:
            self.own.add(noun)

    def book(self) -> SourceBook:
        """Bring families and sources together."""
        members: dict[str, list[SourcePlan]] = {name: [] for name in self.families}
        stream_names: dict[str, str] = {}
        for source in sorted(self.sources.values(), key=lambda s: (f"source {s.id}" not in self.own, s.order, s.id)):
            if source.family not in members:
                self.skipped.append(SkippedDefinition(source.file, "family", f"there is no family {source.family!r}"))
                continue
            names = [plan.name for plan in source.streams if "{" not in plan.name]
            doubled = [name for name in names if stream_names.setdefault(name, source.id) != source.id]
            if doubled or len(set(names)) < len(names):
                what = doubled[0] if doubled else "of one name"
                self.skipped.append(SkippedDefinition(source.file, "streams", f"stream {what} is defined twice"))
                continue
            members[source.family].append(source)
        for name in self.extensions.keys() - self.families.keys():
            self.skipped.append(SkippedDefinition("", "extends", f"there is no family {name!r}"))
        families = [
            msgspec.structs.replace(
                family,
                identity=_identity(family, members[family.name]),
                layouts=(*self.extensions.get(family.name, ()), *family.layouts),
                sources=tuple(members[family.name]),
            )
            for family in self.families.values()
        ]
        return SourceBook(tuple(sorted(families, key=lambda f: (f.order, f.name))), tuple(self.skipped))


def build_book(files: Sequence[DefinitionFile]) -> SourceBook:
    """Compile definition files into a book. Pure; never raises for what the files hold: it names what it skipped."""
    draft = _Draft()
    for number, file in enumerate(sorted(files, key=lambda f: f.own)):
        if number >= DEFINITION_FILES_MAX:
            reason = f"more than DEFINITION_FILES_MAX allows ({DEFINITION_FILES_MAX})"
        elif len(file.data) > DEFINITION_BYTES_MAX:
            reason = f"more than DEFINITION_BYTES_MAX allows ({DEFINITION_BYTES_MAX})"
        else:
            draft.add(file)
            continue
        draft.skipped.append(SkippedDefinition(file.name, "", reason))
    return draft.book()


# --- reading and caching --------------------------------------------------------------------------------------------


def _read(folder_or_file: Path, *, own: bool, named: Callable[[Path], str]) -> list[DefinitionFile]:
    if folder_or_file.is_dir():
        paths = sorted(path for path in folder_or_file.rglob("*.yml") if path.is_file())
        paths += sorted(path for path in folder_or_file.rglob("*.yaml") if path.is_file())
    else:
        paths = [folder_or_file]
    files: list[DefinitionFile] = []
    for path in paths[: DEFINITION_FILES_MAX + 1]:
        with path.open("rb") as opened:
            files.append(DefinitionFile(named(path), opened.read(DEFINITION_BYTES_MAX + 1), own))
    return files


def built_in_files() -> list[DefinitionFile]:
    """The definition files that ship with the package, named relative to their folder."""
    folder = DATA_FOLDER / "sources"
    return _read(folder, own=False, named=lambda path: path.relative_to(folder).as_posix())


def _digest(files: Sequence[DefinitionFile]) -> str:
    """Hash everything that a book is made of: the files, and the code that compiles them and gives them their shape."""
    digest = hashlib.blake2b(digest_size=16)
    for module in (__file__, model_sources.__file__):
        digest.update(Path(module).read_bytes())
    for file in files:
        head = f"{len(file.name)} {file.name} {file.own} {len(file.data)} ".encode("utf-8", "surrogateescape")
        digest.update(head)
        digest.update(file.data)
    return digest.hexdigest()


def _cached(path: Path) -> SourceBook | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    body = stored[16:]
    if hashlib.blake2b(body, digest_size=16).digest() != stored[:16]:
        return None
    try:
        return msgspec.msgpack.decode(body, type=SourceBook)
    except msgspec.DecodeError:
        return None


def _keep(path: Path, book: SourceBook) -> None:
    """Write the cache; a folder that cannot be written only costs time at the next start."""
    body = msgspec.msgpack.encode(book)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_bytes(hashlib.blake2b(body, digest_size=16).digest() + body)
        beside.replace(path)
    except OSError:
        return


def load_sources(extra: Sequence[Path] = (), *, cache_folder: Path | None = None) -> SourceBook:
    """Load the built-in definitions and the user's own (files, or folders of ``.yml``).

    A user's definition wins over a built-in one with the same id. With a ``cache_folder``, the compiled book is kept
    there under the hash of everything it was made of, so that the next start parses no YAML. Bad definitions are in
    ``skipped``. Repeating the call gives the same book for the same files.

    Raises: ConfigError if one of ``extra`` cannot be read.
    """
    files = built_in_files()
    for path in extra:
        try:
            files += _read(path, own=True, named=str)
        except OSError as error:
            why = str(error.strerror)
            raise ConfigError("a source definition cannot be read", where=str(path), hint=why) from error
    if cache_folder is None:
        return build_book(files)
    cache = cache_folder / f"sources-{_digest(files)}.msgpack"
    book = _cached(cache)
    if book is None:
        book = build_book(files)
        _keep(cache, book)
    return book
