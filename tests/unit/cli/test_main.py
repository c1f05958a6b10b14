"""The command as a whole: exit codes, what goes where, and what is not imported."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from mingjian import errors
from mingjian.cli import main
from mingjian.cli.exits import Exit

CODE = "import sys; from mingjian.cli import main; sys.argv[1:] = {arguments!r}; main.main()"


def run_as_process(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = before + "\n" + CODE.format(arguments=list(arguments))
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | Exit]:
    """A command ``try`` that ends the way a test puts into the list."""
    ends: list[BaseException | Exit] = []
    app = typer.Typer()

    @app.command()
    def attempt() -> Exit:
        end = ends.pop()
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(main.Command, "app", lambda self: app)
    monkeypatch.setattr(main, "COMMANDS", (main.Command("try", "nowhere", "Try."),))
    monkeypatch.setattr(main.telemetry, "start_logging", lambda stream, level: None)
    return ends


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) is Exit.DONE
    assert capsys.readouterr().out == f"mingjian {version('mingjian')}\n"


@pytest.mark.parametrize("arguments", [["nosuch"], ["--nosuch"], ["sources", "--nosuch"], ["sources", "check"]])
def test_wrong_use_is_two_lines_on_stderr(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) is Exit.WRONG_USE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) <= 2
    assert captured.err.startswith("mingjian: ")


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) is Exit.DONE
    shown = capsys.readouterr().out
    assert all(command.name in shown for command in main.COMMANDS)


@pytest.mark.parametrize("end", [Exit.DONE, Exit.FOUND, Exit.QUARANTINED, Exit.FAILED])
def test_a_command_decides_its_exit_code(command: list[object], end: Exit) -> None:
    command.append(end)
    assert main.run(["try"]) is end


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            errors.ParseError("not JSON", where="a.json:3", hint="look at it"),
            Exit.FAILED,
            "a.json:3: not JSON\n  look at it",
        ),
        (errors.ConfigError("bad"), Exit.WRONG_USE, "bad"),
        (errors.StorageError("disk full"), Exit.FAILED, "disk full"),
        (FileNotFoundError(2, "No such file or directory", "x\x1b"), Exit.FAILED, "x\\x1b: No such file or directory"),
        (typer.BadParameter("no"), Exit.WRONG_USE, "Invalid value: no\n  --help shows what is possible"),
        (typer.Exit(3), Exit.QUARANTINED, ""),
        (typer.Abort(), Exit.INTERRUPTED, ""),
    ],
)
def test_an_error_becomes_an_exit_code_and_two_lines(
    command: list[object], error: Exception, code: Exit, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command.append(error)
    assert main.run(["try"]) is code
    assert capsys.readouterr().err.strip() == (f"mingjian: {said}" if said else "")


def test_a_defect_goes_through(command: list[object]) -> None:
    command.append(AssertionError("ours"))
    with pytest.raises(AssertionError, match="ours"):
        main.run(["try"])


def test_a_defect_is_shown_whole_without_control_characters_and_never_as_found() -> None:
    ended = run_as_process(
        before="from mingjian.cli import main\ndef run(a): raise KeyError('x\\x1b[2J')\nmain.run = run"
    )
    assert ended.returncode == Exit.DEFECT
    assert "defect" in ended.stderr.splitlines()[0]
    assert "Traceback" in ended.stderr
    assert "\x1b" not in ended.stderr


def test_an_interrupt_is_quiet() -> None:
    ended = run_as_process(before="from mingjian.cli import main\ndef run(a): raise KeyboardInterrupt\nmain.run = run")
    assert (ended.returncode, ended.stderr) == (Exit.INTERRUPTED, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_reader_that_goes_away_is_no_defect(arguments: list[str]) -> None:
    code = CODE.format(arguments=arguments)
    with subprocess.Popen(
        [sys.executable, "-I", "-c", "import time; " + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == Exit.READER_GONE


def test_wrong_settings_stop_a_command_and_name_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mingjian.toml").write_text("job = 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(main.terminal, "note", said.append)
        assert main.run(["sources", "list"]) is Exit.WRONG_USE
    assert "'job'" in said[0]


def test_every_command_has_a_module_with_a_program_and_a_line() -> None:
    for command in main.COMMANDS:
        assert isinstance(import_module(command.module).app, typer.Typer), command.name
        assert command.line.endswith("."), command.name
    assert len({command.name for command in main.COMMANDS}) == len(main.COMMANDS)


def test_help_and_version_import_no_command() -> None:
    code = "import sys\nfrom mingjian.cli import main\nmain.run(['--help'])\nmain.run(['--version'])\n" + (
        "print([c.module for c in main.COMMANDS if c.module in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"
