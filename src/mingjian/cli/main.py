"""The command ``mingjian``: find the command that is meant, run it, turn how it ended into an exit code.

A command's module is imported when that command runs, and not before: this file is on the way of every start.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer
from typer.main import get_command

from mingjian import settings, telemetry
from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError, MingjianError


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its module has ``app``, a ``typer.Typer`` with one command or several.

    What it runs may return an ``Exit`` (None is ``DONE``), and finds the ``Settings`` as ``obj`` of its context.
    """

    name: str
    module: str
    line: str
    """What it does, for the list of commands."""

    def app(self) -> typer.Typer:
        """Import the command's module and give its program."""
        return cast("typer.Typer", import_module(self.module).app)


COMMANDS: tuple[Command, ...] = (
    Command("ask", "mingjian.cli.ask", "Who is it, friend or foe, what did it do, what could not be seen."),
    Command("audit", "mingjian.cli.audit", "Who did what, and the proof that nothing of it was touched."),
    Command("backup", "mingjian.cli.backup", "Write everything in the workspace to one file."),
    Command("behaviours", "mingjian.cli.behaviours", "Find what no rule describes: beacons, guessing, outflows."),
    Command("brief", "mingjian.cli.brief", "Write a situation brief of a period: HTML, DOCX or PDF."),
    Command("demo", "mingjian.cli.demo", "See what Mingjian does, on logs that it makes itself."),
    Command("detect", "mingjian.cli.detect", "Run Sigma rules over log files and list what they find."),
    Command("detections", "mingjian.cli.detections", "List what was found in the workspace."),
    Command("doctor", "mingjian.cli.doctor", "Look whether the workspace is whole, and what to do if not."),
    Command("hunt", "mingjian.cli.hunt", "Look for something in everything that was ever kept."),
    Command("init", "mingjian.cli.init", "Make a workspace: the folder in which everything is kept."),
    Command("ingest", "mingjian.cli.ingest", "Take logs into the workspace, with every rule run over them."),
    Command("intake", "mingjian.cli.intake", "Say who may send over the network, and list what came in."),
    Command("intel", "mingjian.cli.intel", "Add indicators, and see which ones are looked for."),
    Command("lake", "mingjian.cli.lake", "Show what is kept: streams, events, bytes, from when to when."),
    Command("quarantine", "mingjian.cli.quarantine", "See what could not be read, and try it again."),
    Command("record", "mingjian.cli.record", "Show a record by its pointer, as it came in."),
    Command("restore", "mingjian.cli.restore", "Make a workspace of a backup, and look whether it is whole."),
    Command("rules", "mingjian.cli.rules", "See which rule files can be used, and why not the others."),
    Command("sample", "mingjian.cli.sample", "Make logs of an invented sector, with attacks hidden in them."),
    Command("serve", "mingjian.cli.serve", "Serve the console and the API, and take logs in meanwhile."),
    Command("situations", "mingjian.cli.situations", "See which detections belong together, and say what they are."),
    Command("sources", "mingjian.cli.sources", "List source definitions, and see what your logs are taken for."),
    Command("sql", "mingjian.cli.sql", "Ask the lake in SQL. Nothing can be changed by it."),
    Command("users", "mingjian.cli.users", "Who may sign in to the console, and what they may do."),
)
"""Every command there is, in the order of the list. A command exists when it has its line here."""


GARBAGE_THRESHOLD = 200_000
"""What is read from a cache at the start are trees: looking for cycles among them costs a tenth of the start."""


PURGE_DELAY_MS = 1_000
"""Arrow's allocator gives memory that is free so long back to the system; after 10 ms, as it does by itself, columns
that are read one after the other pay for the same pages again and again."""


def main() -> NoReturn:
    """Run the program on the arguments of the process and leave it with an exit code. Never returns."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    # Read when Arrow is loaded, which nothing has done yet.
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", str(PURGE_DELAY_MS))
    # Nothing here multiplies matrices: NumPy's threads for that would only make each start longer.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Python itself would end with 1 after a defect, which our contract keeps for “found”.
    code = Exit.DEFECT
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = Exit.READER_GONE
    except SystemExit:
        # Nothing of ours raises it; Rich does when it finds that nobody reads.
        code = Exit.READER_GONE
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    finally:
        if code is Exit.DEFECT:
            _report_defect()
        if code is Exit.READER_GONE:
            # What is still in the buffer would raise again when the interpreter closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code)


def run(arguments: Sequence[str]) -> Exit:
    """Run one command line and say how it ended.

    Errors that have a name become one or two lines on stderr. Anything else is a defect and goes through.
    """
    try:
        return _run_command(arguments)
    except typer.Exit as ended:
        return Exit(ended.exit_code)
    except typer.Abort:
        return Exit.INTERRUPTED
    except typer.TyperException as error:
        terminal.complain(error.format_message(), hint="--help shows what is possible")
        return Exit.WRONG_USE
    except MingjianError as error:
        terminal.complain(error.what, where=error.where, hint=error.hint)
        return Exit.WRONG_USE if isinstance(error, ConfigError) else Exit.FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        terminal.complain(error.strerror or str(error), where=str(error.filename or ""))
        return Exit.FAILED


def _run_command(arguments: Sequence[str]) -> Exit:
    name = arguments[0] if arguments else ""
    command = next((command for command in COMMANDS if command.name == name), None)
    if command is None:
        app, rest, path, chosen = _overview(), list(arguments) or ["--help"], "mingjian", None
    else:
        chosen = settings.load(Path.cwd(), os.environ)
        telemetry.start_logging(sys.stderr, chosen.log_level)
        app, rest, path = command.app(), list(arguments[1:]), f"mingjian {command.name}"
    runnable = get_command(app)
    with runnable.make_context(path, rest, obj=chosen) as context:
        ended = runnable.invoke(context)
    return Exit(ended) if isinstance(ended, int) else Exit.DONE


def _start(
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version and leave.")] = False,
) -> Exit:
    if version:
        from mingjian import __version__

        terminal.say(f"mingjian {__version__}")
    return Exit.DONE


def _stub() -> NoReturn:
    raise AssertionError("a known command runs from its own module")


def _overview() -> typer.Typer:
    """Make the program without its commands' modules: it shows ``--help`` and refuses an unknown command."""
    app = typer.Typer(add_completion=False, help="Mingjian reads logs and looks at every distinct thing once.")
    app.callback(invoke_without_command=True)(_start)
    for command in COMMANDS:
        app.command(command.name, help=command.line)(_stub)
    return app


def _report_defect() -> None:
    """Show a defect whole, so that it can be reported. Its message may hold text from outside."""
    import traceback

    terminal.complain("this is a defect of Mingjian; please report it with the lines below")
    for line in traceback.format_exc().splitlines():
        terminal.note(line)
