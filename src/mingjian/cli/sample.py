"""``mingjian sample``: logs of invented organisations, with ground truth, for whoever wants to try or to test."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.sample.campaigns import scripted
from mingjian.sample.generate import LOGS_FOLDER, TRUTH_FILE, Made, Order, generate
from mingjian.settings import Settings

app = typer.Typer(add_completion=False)

COLUMNS = ("source", "events")
_DEFAULT = Order()
_FIRST_DAY = datetime.fromisoformat(_DEFAULT.start.isoformat())
_NAMES = ", ".join(campaign.name for campaign in scripted())


@app.command()
def sample(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The folder to fill; it must be empty or not be there.")],
    seed: Annotated[int, typer.Option(help="Another number makes another sector.")] = _DEFAULT.seed,
    organisations: Annotated[int, typer.Option(help="How many organisations, 1 to 200.")] = _DEFAULT.organisations,
    days: Annotated[int, typer.Option(help="How many days.")] = _DEFAULT.days,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = _FIRST_DAY,
    events_per_day: Annotated[
        int, typer.Option(help="Of one organisation on a working day, about.")
    ] = _DEFAULT.events_per_day,
    hum: Annotated[
        float, typer.Option(help="The share of the events that machines write about themselves, 0 to 0.95.")
    ] = _DEFAULT.hum,
    days_per_file: Annotated[
        int, typer.Option(help="So many days of one organisation share their log files, 1 to 31.")
    ] = _DEFAULT.days_per_file,
    forwarded: Annotated[
        bool, typer.Option("--forwarded", help="Write only what members of a sector hand on to their hub.")
    ] = False,
    campaign: Annotated[
        list[str] | None,
        typer.Option(help=f"Hide this campaign in the logs: {_NAMES}. May be repeated; the first five if not given."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--no-campaigns", help="Hide nothing: everyday life only.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all processors if not given.")] = None,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """Make logs of an invented sector, with attacks hidden in them and the truth beside them."""
    settings = context.find_object(Settings) or Settings()
    chosen = () if quiet else tuple(campaign) if campaign else _DEFAULT.campaigns
    order = Order(
        seed=seed,
        organisations=organisations,
        days=days,
        start=start.date(),
        events_per_day=events_per_day,
        hum=hum,
        days_per_file=days_per_file,
        forwarded=forwarded,
        campaigns=chosen,
    )
    started = time.perf_counter()
    with Progress(sys.stderr) as progress:
        made = generate(order, output, jobs=jobs or settings.jobs, progress=progress.show)
    rows = ({"source": source, "events": count} for source, count in made.records_by_source.items())
    terminal.write_rows(rows, COLUMNS, terminal.choose_format(how))
    _summarise(made, output, time.perf_counter() - started)
    return Exit.DONE


def _summarise(made: Made, output: Path, seconds: float) -> None:
    terminal.note(
        f"{made.files} files, {made.records} events, {made.bytes / 1e6:.1f} MB in {seconds:.2f} s "
        f"({made.records / seconds:,.0f} events/s)"
    )
    terminal.note(
        f"{made.planted} planted events of {len(made.steps)} steps, {made.repeated} repeated, {made.damaged} damaged: "
        f"{output / TRUTH_FILE} has each of them"
    )
    terminal.note(f"the logs: {output / LOGS_FOLDER}")
