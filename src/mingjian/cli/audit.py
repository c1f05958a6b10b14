"""``mingjian audit``: who did what, and the proof that nothing of it was touched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ParseError, StorageError
from mingjian.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The audit log: who did what, with proof.")

COLUMNS = ("number", "time", "actor", "via", "what", "about", "organisation", "before", "after")

How = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]


@app.callback()
def _audit() -> None:
    """Have several commands."""


@app.command("list")
def list_acts(
    context: typer.Context,
    what: Annotated[str | None, typer.Option("--what", help="Only these acts: user, or user.made.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this one did.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many, the newest.", min=1, max=1000)] = 200,
    how: How = None,
) -> Exit:
    """List acts, the newest first."""
    import json

    from mingjian.cli.detect import time_text
    from mingjian.store.audit import acts
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        found = acts(workspace, Scope.of_operator(), limit=limit, what=what, actor=actor)
    terminal.write_rows(
        (
            {
                "number": each.number,
                "time": time_text(each.time_us),
                "actor": each.actor,
                "via": each.via,
                "what": each.what,
                "about": each.about,
                "organisation": each.organisation,
                "before": json.dumps(each.before, ensure_ascii=False) if each.before else None,
                "after": json.dumps(each.after, ensure_ascii=False) if each.after else None,
            }
            for each in found
        ),
        COLUMNS,
        terminal.choose_format(how),
    )
    return Exit.DONE


@app.command("verify")
def verify(
    context: typer.Context,
    export: Annotated[
        Path | None, typer.Option("--export", help="Verify an exported log in this folder; no workspace is needed.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="With --export: the public key, from where you keep it.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="A checkpoint that you kept. May be repeated.")
    ] = None,
) -> Exit:
    """Look whether the audit log is as it was signed: nothing altered, removed, put in, put elsewhere or cut off.

    Ends with 4 if it is not.
    """
    from mingjian.store.audit import verify as verify_log
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    kept = [_text(path) for path in checkpoint or ()]
    if export is not None:
        return _verify_export(export, key, kept)
    with open_here(context.ensure_object(Settings)) as workspace:
        size, faults = verify_log(workspace, Scope.of_operator(), kept)
    for fault in faults:
        place = "" if fault.number is None else f"act {fault.number}: "
        terminal.say(f"{place}{fault.said}")
    if faults:
        return Exit.FAILED
    terminal.say(f"{size:,} acts: as they were signed")
    return Exit.DONE


def _verify_export(folder: Path, key_file: Path | None, kept: list[str]) -> Exit:
    from mingjian.formats import tlog
    from mingjian.store.audit import KEY_FILE

    key = tlog.parse_key(_text(key_file or folder / KEY_FILE))

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise ParseError(f"a file of the log is missing: {error.strerror}", where=name) from None

    signed, entries = tlog.read_log(read, key)
    leaves = [tlog.leaf_hash(entry) for entry in entries]
    for note in kept:
        known = tlog.open_checkpoint(note, key)
        if known.size > signed.size:
            raise ParseError(f"a kept checkpoint is of {known.size:,} acts, and {signed.size:,} are there")
        if tlog.root(leaves[: known.size]) != known.root:
            raise ParseError(f"a kept checkpoint was signed over {known.size:,} other acts")
    if key_file is None:
        terminal.note("the key is the one in the export: compare it with the one that you know")
    terminal.say(f"{signed.size:,} acts: as they were signed by {key}")
    return Exit.DONE


@app.command("export")
def export(
    context: typer.Context, folder: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")]
) -> Exit:
    """Write the whole log as files that anybody can verify, in the form of C2SP tlog-tiles."""
    from mingjian.store.audit import export as export_log
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        count = export_log(workspace, Scope.of_operator(), folder)
    terminal.note(f"{count:,} acts; mingjian audit verify --export {folder} verifies them")
    return Exit.DONE


@app.command("checkpoint")
def checkpoint(context: typer.Context) -> Exit:
    """Print the newest signed checkpoint: keep it elsewhere, and nobody can shorten or rewrite what is before it."""
    from mingjian.store.audit import checkpoint as newest
    from mingjian.store.audit import verifier_key
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        for line in newest(workspace).splitlines():
            terminal.say(line)
        terminal.note(f"key: {verifier_key(workspace)}")
    return Exit.DONE


def _text(path: Path) -> str:
    from mingjian.formats.tlog import NOTE_BYTES_MAX

    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES_MAX + 1).decode("utf-8", "replace")
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
