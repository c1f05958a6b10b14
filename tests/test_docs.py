"""The documentation as tests: what it says is there, in both languages."""

import re
import shlex
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from mingjian import errors, settings
from mingjian.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LANGUAGES = ("en", "zh")
PAGES = tuple(sorted(path for path in DOCS.rglob("*.md")))
TOP_PAGES = tuple(sorted(ROOT.glob("*.md")))
FORBIDDEN = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "lorem " + "ipsum", "coming " + "soon", "state of " + "the art")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """The text of a page without its code blocks, in which # is no heading."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(path: Path) -> list[tuple[int, str]]:
    text = without_code(path.read_text(encoding="utf-8"))
    return [(len(marks), title.strip()) for marks, title in re.findall(r"^(#+) (.*)$", text, re.MULTILINE)]


def anchors(path: Path) -> set[str]:
    """The fragments that a link to a page can name, as the usual renderers of Markdown make them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(path)}


def test_both_languages_have_the_same_pages() -> None:
    files = {
        language: {p.relative_to(DOCS / language) for p in (DOCS / language).rglob("*.md")} for language in LANGUAGES
    }
    assert files["en"] == files["zh"]
    assert (ROOT / "README.zh.md").is_file()


def twin_of(path: Path) -> Path:
    """The Chinese page of an English one."""
    return ROOT / "README.zh.md" if path.name == "README.md" else DOCS / "zh" / path.relative_to(DOCS / "en")


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *(p for p in PAGES if p.is_relative_to(DOCS / "en"))], ids=name_of
)
def test_both_languages_have_the_same_headings_tables_and_code_blocks(path: Path) -> None:
    twin = twin_of(path)
    assert twin.is_file(), f"{name_of(path)} has no Chinese page"
    assert [level for level, _ in headings(path)] == [level for level, _ in headings(twin)]
    english, chinese = path.read_text(encoding="utf-8"), twin.read_text(encoding="utf-8")
    for what, pattern in (("table rows", r"^\|"), ("code fences", r"^```")):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], what


@pytest.mark.parametrize("path", (*TOP_PAGES, *PAGES), ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = without_code(path.read_text(encoding="utf-8"))
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        goal = (path.parent / file).resolve() if file else path
        assert goal.exists(), f"{target} does not exist"
        if fragment:
            assert fragment in anchors(goal), f"{target}: there is no such heading"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_can_be_reached_from_the_index(language: str) -> None:
    start = DOCS / language / "index.md"
    reached_from, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8")):
            goal = (page.parent / target).resolve()
            if goal.is_relative_to(DOCS / language) and goal.exists() and goal not in reached_from:
                reached_from.add(goal)
                waiting.append(goal)
    assert {name_of(p) for p in (DOCS / language).rglob("*.md")} - {name_of(p) for p in reached_from} == set()


@pytest.mark.parametrize("path", (*TOP_PAGES, *PAGES), ids=name_of)
def test_no_page_holds_a_forbidden_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if word in text] == []


@pytest.mark.parametrize("path", [p for p in (*TOP_PAGES, *PAGES) if "zh" in name_of(p)], ids=name_of)
def test_in_chinese_an_event_is_never_named_without_its_kind(path: Path) -> None:
    """日志事件 and 安全事件, never 事件 alone; 事件日志 is the Windows event log's own name."""
    found = re.findall(r".{0,8}(?<!日志)(?<!安全)事件(?!日志).{0,8}", path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_code_is_a_heading_in_the_order_of_the_tree(language: str) -> None:
    def codes(kind: type[errors.MingjianError]) -> list[str]:
        below = sorted(kind.__subclasses__(), key=list(vars(errors).values()).index)
        return [kind.code, *(code for child in below for code in codes(child))]

    assert [title for level, title in headings(DOCS / language / "errors.md") if level == 2] == codes(
        errors.MingjianError
    )


def test_error_codes_are_unique_and_drawn_in_the_tree() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.MingjianError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert [kind.__name__ for kind in kinds if kind.__name__ not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_settings_is_the_one_that_the_program_has(language: settings.Language, update: bool) -> None:
    path = DOCS / language / "reference" / "settings.md"
    page, table = path.read_text(encoding="utf-8"), settings.table(language)
    if update:
        path.write_text(page[: page.index("\n| ") + 1] + table, encoding="utf-8")
    else:
        assert table in page


OURS = ("./run", "../run", "mingjian")


def command_lines(path: Path) -> list[list[str]]:
    """What a page tells the reader to type, as far as it is a command of ours."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [part for block in blocks for line in block.replace("\\\n", "").splitlines() for part in simple(line)]
    return [words for words in lines if words and words[0] in (*OURS, "./check")]


def simple(line: str) -> list[list[str]]:
    """The simple commands of a line of a shell, without where they read from and write to."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in ("&&", "|", ";"):
            found.append([])
        elif not word.startswith((">", "2>", "<")):
            found[-1].append(word)
    return found


def mentions(path: Path) -> list[list[str]]:
    """Commands of ours that are named in running text."""
    spans = re.findall(r"`((?:\./run|\.\./run|mingjian) [^`]+)`", without_code(path.read_text(encoding="utf-8")))
    return [span.split() for span in spans]


def misused(words: list[str]) -> str:
    """What a command line names that the program does not have; empty if it has all of it."""
    if len(words) == 1 or words[1].startswith("--") or words[1] == "COMMAND":
        return ""
    command = next((each for each in COMMANDS if each.name == words[1]), None)
    if command is None:
        return f"there is no command {words[1]}"
    asked, rest = get_command(command.app()), words[2:]
    known = {name for parameter in asked.params for name in (*parameter.opts, *parameter.secondary_opts)}
    while isinstance(asked, TyperGroup) and rest:
        if rest[0] not in asked.commands:
            return f"{words[1]} has no {rest[0]}"
        asked, rest = asked.commands[rest[0]], rest[1:]
        known |= {name for parameter in asked.params for name in (*parameter.opts, *parameter.secondary_opts)}
    # In brackets stands what may be left out.
    options = {word.strip("[]").partition("=")[0] for word in rest if re.match(r"\[?--?[a-z]", word)}
    return ", ".join(sorted(options - known - {"--help"}))


@pytest.mark.parametrize("path", (*TOP_PAGES, *PAGES), ids=name_of)
def test_every_command_in_the_docs_is_one_that_the_program_takes(path: Path) -> None:
    lines = command_lines(path)
    assert "./check" not in {words[0] for words in lines} or (ROOT / "check").is_file()
    wrong = {" ".join(words): misused(words) for words in (*lines, *mentions(path)) if words[0] != "./check"}
    assert {line: why for line, why in wrong.items() if why} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_has_its_heading(language: str) -> None:
    titles = [title for _, title in headings(DOCS / language / "reference" / "commands.md")]
    named = {title.removeprefix("mingjian ").split()[0] for title in titles if title.startswith("mingjian ")}
    assert named == {command.name for command in COMMANDS}


def test_the_readme_starts_with_its_two_commands() -> None:
    for name in ("README.md", "README.zh.md"):
        assert [words[0] for words in command_lines(ROOT / name)[:2]] == ["./run", "./check"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_mission_states_for_each_of_its_17_points_how_far_it_is(language: str) -> None:
    page = (DOCS / language / "mission.md").read_text(encoding="utf-8")
    states = (
        ("**Built**", "**In part**", "**Not yet**") if language == "en" else ("**已建成**", "**部分建成**", "**尚未**")
    )
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 18))
    assert [number for number, state in rows if not state.startswith(states)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_dependency_has_its_line_in_the_architecture(language: str) -> None:
    page = (DOCS / language / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \|(?:[^|]*\|){4}$", page.split("`detect`")[-1], re.MULTILINE)
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.findall(r'"([\w-]+)', metadata.split("dependencies = [")[1].split("]")[0])
    assert listed == declared
