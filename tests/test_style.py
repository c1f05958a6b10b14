"""The style guide as tests: each test is named after the rule that it checks."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "mingjian"
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 800
PURE_ROOMS = ("model", "formats", "detect")
TEXT_SUFFIXES_NOT = (".png", ".ico", ".woff2", ".evtx", ".gz", ".zst", ".zip", ".xz", ".bz2", ".tar", ".parquet")


@cache
def own_files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks, and what it would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the files of the project cannot be listed")
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def python_files(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """The parsed Python files under some folders of the project."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
    return f"{path.relative_to(ROOT).as_posix()}{line}"


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every dotted name that a module imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node


def is_within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted text of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def nothing(found: list[str]) -> None:
    """Fail with one line for each place that breaks the rule."""
    assert not found, "\n" + "\n".join(found)


def test_no_function_is_longer_than_a_screen_of_70_lines() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        f"{place(path, node)} {node.name}: {lines}"
        for path, tree in python_files("src", "tests", "bench", "fuzz")
        for node in ast.walk(tree)
        if isinstance(node, functions) and (lines := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    nothing(long)


def test_no_module_is_longer_than_800_lines() -> None:
    long = [
        f"{place(path)}: {lines}"
        for path, _ in python_files("src", "tests", "bench", "fuzz")
        if (lines := path.read_text(encoding="utf-8").count("\n")) > MODULE_LINES_MAX
    ]
    nothing(long)


def test_every_module_says_what_it_is_for() -> None:
    nothing([place(path) for path, tree in python_files("src") if not ast.get_docstring(tree)])


def test_every_package_says_what_comes_in_what_goes_out_and_what_it_never_does() -> None:
    silent = [
        place(path)
        for path, tree in python_files("src")
        if path.name == "__init__.py"
        and path.parent.parent in (SOURCE, SOURCE.parent)
        and not all(word in (ast.get_docstring(tree) or "") for word in ("In:", "Out:", "Never:"))
    ]
    nothing(silent)


def test_no_handler_catches_everything() -> None:
    broad = {"Exception", "BaseException"}
    found = [
        place(path, node)
        for path, tree in python_files("src", "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or broad & {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)})
        # What passes on everything that it does not name has not caught everything.
        and not any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(node))
    ]
    nothing(found)


def test_nothing_runs_what_data_says_no_pickle_eval_exec_or_shell() -> None:
    modules = ("pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "diskcache")
    calls = {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    found = [
        place(path, node)
        for path, tree in python_files("src")
        for name, node in imported(tree)
        if is_within(name, modules)
    ]
    for path, tree in python_files("src"):
        for name, node in called(tree):
            shell = any(keyword.arg == "shell" for keyword in node.keywords)
            if name in calls or shell:
                found.append(place(path, node))
    nothing(found)


def test_yaml_xml_and_archives_are_opened_in_the_bounded_modules_only() -> None:
    modules = ("yaml", "xml", "lxml", "zipfile", "tarfile", "gzip", "bz2", "lzma", "zstandard", "tomllib")
    allowed = {"formats/bounded.py", "formats/containers.py", "formats/backupfile.py"}
    # The settings file is the user's own, and bounded where it is read; a type of a parsed element parses nothing.
    allowed_one = {("settings.py", "tomllib"), ("formats/winxml.py", "xml.etree.ElementTree.Element")}
    found = [
        f"{place(path, node)} {name}"
        for path, tree in python_files("src")
        for name, node in imported(tree)
        if is_within(name, modules)
        and (inside := path.relative_to(SOURCE).as_posix()) not in allowed
        and (inside, name) not in allowed_one
    ]
    found += [
        place(path, node)
        for path, tree in python_files("src")
        for name, node in called(tree)
        # zlib.crc32 is a checksum like any other.
        if name.startswith("zlib.decompress") and path.relative_to(SOURCE).as_posix() not in allowed
    ]
    nothing(found)


def test_pure_rooms_touch_no_clock_disk_socket_database_chance_or_log() -> None:
    modules = (
        *(
            "os",
            "pathlib",
            "io.open",
            "shutil",
            "tempfile",
            "glob",
            "socket",
            "ssl",
            "http",
            "urllib.request",
            "requests",
        ),
        *(
            "time",
            "random",
            "secrets",
            "uuid.uuid1",
            "uuid.uuid4",
            "sqlite3",
            "duckdb",
            "subprocess",
            "multiprocessing",
        ),
        *("threading", "asyncio", "logging", "mingjian.telemetry", "mingjian.settings"),
    )
    clock = re.compile(r"(^|\.)(now|utcnow|today)$")
    found: list[str] = []
    for room in PURE_ROOMS:
        for path, tree in python_files(f"src/mingjian/{room}"):
            found += [f"{place(path, node)} {name}" for name, node in imported(tree) if is_within(name, modules)]
            found += [
                f"{place(path, node)} {name}()"
                for name, node in called(tree)
                if clock.search(name) or name in ("open", "print", "input")
            ]
    nothing(found)


def test_text_leaves_for_the_terminal_in_one_place_only() -> None:
    allowed = {"cli/terminal.py", "cli/main.py"}
    found = [
        place(path, node)
        for path, tree in python_files("src")
        if path.relative_to(SOURCE).as_posix() not in allowed
        for name, node in called(tree)
        if name in ("print", "typer.echo", "typer.secho") or re.match(r"sys\.(stdout|stderr)\.write$", name)
    ]
    nothing(found)


def test_regexes_from_outside_cannot_reach_the_standard_library() -> None:
    """`re` gets literals of ours where rules and user data arrive; every other pattern is for RE2 or Hyperscan."""
    takers = re.compile(r"^re\.(compile|search|match|fullmatch|findall|finditer|sub|subn|split)$")

    def is_ours(node: ast.expr) -> bool:
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.BinOp):
            return is_ours(node.left) and is_ours(node.right)
        if isinstance(node, ast.JoinedStr):
            return all(is_ours(part) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return is_ours(node.value)
        return isinstance(node, ast.Name) and node.id.isupper()

    rooms = sorted({path.parent for path in SOURCE.rglob("*.py")} - {SOURCE / "formats", SOURCE / "model", SOURCE})
    found = [
        place(path, node)
        for path, tree in python_files(*(str(room.relative_to(ROOT)) for room in rooms))
        for name, node in called(tree)
        if takers.match(name) and node.args and not is_ours(node.args[0])
    ]
    nothing(found)


def test_no_module_is_named_utils_helpers_or_common() -> None:
    names = {"util", "utils", "helper", "helpers", "common", "misc", "shared", "base"}
    nothing([place(path) for path, _ in python_files("src", "tests") if path.stem in names])


def test_every_suppressed_warning_states_its_reason() -> None:
    mark = re.compile(r"#\s*(type: ignore|pyright: ignore|noqa|pragma)(\[[^\]]*\]|: ?[A-Z0-9, ]+)?(?P<rest>.*)$")
    found = [
        f"{place(path)}:{number}"
        for path, _ in python_files("src", "tests", "bench", "fuzz")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := mark.search(line)) and len(match["rest"].strip(" -#:")) < 10 and "re.compile" not in line
    ]
    nothing(found)


def test_unit_tests_mirror_the_source() -> None:
    """``unit/detect/test_sigma_rules.py`` may also stand for ``detect/sigma/rules.py``."""
    stray = []
    for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py")):
        folder = path.relative_to(ROOT / "tests" / "unit").parent
        words = path.stem.removeprefix("test_").split("_")
        names = ["_".join(words), *("/".join(("_".join(words[:n]), "_".join(words[n:]))) for n in range(1, len(words)))]
        modules = [SOURCE / folder / name for name in names]
        if folder.parts and not any(m.with_suffix(".py").exists() or m.is_dir() for m in modules):
            stray.append(place(path))
    nothing(stray)


def test_no_file_speaks_of_a_machine_or_of_a_package_registry() -> None:
    machine = ("/work" + "/main", "/work" + "/shared", "/tm" + "p/w/", "/opt" + "/wheels", "/root" + "/.pyenv")
    registries = (
        *("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "npmjs" + ".com", "crates" + ".io"),
        *(
            "deb.debian" + ".org",
            "archive.ubuntu" + ".com",
            "anaconda" + ".org",
            "rubygems" + ".org",
            "--index" + "-url",
        ),
    )
    found: list[str] = []
    for path in own_files():
        if path.suffix not in TEXT_SUFFIXES_NOT:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{place(path)}: {word}" for word in (*machine, *registries, str(ROOT)) if word in text]
    nothing(found)


def test_the_project_speaks_of_itself_alone() -> None:
    words = re.compile(
        "|".join(("clau" + "de", "anthro" + "pic", "chat" + "gpt", "sub-?" + "agent", "as an a" + "i ")), re.I
    )
    found = [
        f"{place(path)}: {match[0]}"
        for path in own_files()
        if path.suffix in (".py", ".md", ".toml", ".sh", ".yml", "")
        and (match := words.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    nothing(found)


def locked(name: str) -> dict[str, set[str]]:
    """Package → versions in a lock file (several where the Python version decides)."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(" "):
            requirement = Requirement(line.rstrip(" \\"))
            pins.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return pins


def project() -> dict[str, list[str]]:
    """Extra → requirements as pyproject.toml states them; ``runtime`` and ``build`` for what is no extra."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dev = table["project"]["optional-dependencies"]["dev"]
    return {"runtime": table["project"]["dependencies"], "dev": dev, "build": table["build-system"]["requires"]}


def test_lock_files_name_every_package_with_hashes_and_no_address() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*-[^-]|^--|://|^#", text, re.M), path.name
        blocks = re.split(r"\n(?=\S)", text.strip())
        assert [b.split("\n")[0] for b in blocks if "--hash=sha256:" not in b or "==" not in b] == [], path.name


@pytest.mark.parametrize(
    ("kind", "lock"), [("runtime", "runtime"), ("runtime", "dev"), ("dev", "dev"), ("build", "build")]
)
def test_lock_files_agree_with_the_metadata_of_the_project(kind: str, lock: str) -> None:
    pins = locked(f"{lock}.txt")
    for text in project()[kind]:
        wanted = Requirement(text)
        versions = pins.get(canonicalize_name(wanted.name), set())
        assert versions, f"{wanted.name} is not in requirements/{lock}.txt"
        assert all(wanted.specifier.contains(version.removeprefix("==")) for version in versions), wanted.name


def test_lock_files_agree_with_each_other() -> None:
    runtime, dev, build = locked("runtime.txt"), locked("dev.txt"), locked("build.txt")
    assert {name: dev.get(name) for name in runtime} == runtime
    assert {name: dev[name] for name in build if name in dev} == {name: build[name] for name in build if name in dev}


READ_AS_DATA = {"pymispgalaxies", "pymispwarninglists"}
"""Packages of which only data files are read: importing them would cost time for nothing."""
NEEDED_BY_OTHERS = {"python-multipart"}
"""Packages that one of ours imports if they are there, and that we want to be there: starlette reads forms with it."""


def packages_imported(*folders: str) -> set[str]:
    """The distributions whose modules are imported under some folders."""
    distributions = packages_distributions()
    own = {path.stem for path in (ROOT / "tests").iterdir()} | {"mingjian", "tests", "fuzz", "bench"}
    names = {name.split(".")[0] for _, tree in python_files(*folders) for name, _ in imported(tree)}
    strange = names - sys.stdlib_module_names - own
    return {canonicalize_name(d) for name in strange for d in distributions.get(name, [f"unknown-package-{name}"])}


def test_what_the_source_imports_is_what_the_project_depends_on() -> None:
    used = packages_imported("src")
    declared = {canonicalize_name(Requirement(text).name) for text in project()["runtime"]}
    assert used - declared == set()
    assert declared - used - READ_AS_DATA - NEEDED_BY_OTHERS == set(), "declared, but nothing imports it"


def test_what_tests_import_is_in_the_development_environment() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in (*project()["runtime"], *project()["dev"])}
    assert packages_imported("tests", "bench", "fuzz") - declared == set()


def test_the_command_line_imports_nothing_heavy_before_a_command_runs() -> None:
    heavy = ("pyarrow", "duckdb", "polars", "numpy", "sigma", "yaml", "pydantic", "rich.console", "hyperscan", "re2")
    heavy += ("sqlalchemy", "alembic", "h11")
    code = "import sys, mingjian.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    nothing([name for name in heavy if name in loaded])


def test_detecting_without_a_workspace_imports_no_database() -> None:
    code = "import sys, mingjian.cli.main as m; m.run(['detect', sys.argv[1]]); print('modules', *sys.modules)"
    sample = next(path for path in sorted((ROOT / "tests" / "samples").rglob("*")) if path.is_file())
    output = subprocess.run(
        [sys.executable, "-I", "-c", code, sample], capture_output=True, check=True, text=True
    ).stdout.splitlines()
    loaded = output[-1].split()
    assert "mingjian.cli.detect" in loaded
    nothing([name for name in ("sqlalchemy", "alembic", "duckdb", "mingjian.store") if name in loaded])


def test_scripts_are_posix_shell_and_executable() -> None:
    for name in ("run", "check"):
        path = ROOT / name
        assert path.stat().st_mode & 0o111, name
        assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n"), name
        subprocess.run(["sh", "-n", name], cwd=ROOT, check=True)
    subprocess.run(["sh", "-n", "requirements/install.sh"], cwd=ROOT, check=True)


def test_every_public_name_is_used_somewhere() -> None:
    """Dead code: a public function or class that appears nowhere but in its own definition."""
    text = "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in own_files()
        if path.suffix in (".py", ".md", ".toml")
    )
    words = Counter(re.findall(r"[A-Za-z_]\w+", text))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    dead = [
        f"{place(path, node)} {node.name}"
        for path, tree in python_files("src")
        for node in tree.body
        if isinstance(node, kinds) and words[node.name] < 2 and not node.decorator_list and node.name[:2] != "__"
    ]
    nothing(dead)
