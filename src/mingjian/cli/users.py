"""``mingjian users``: who may sign in to the console, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.store.accounts import User
    from mingjian.store.scope import Everyone, OrganisationId
    from mingjian.store.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Who may sign in, and what they may do.")

COLUMNS = ("name", "title", "state", "roles", "password", "codes", "passkeys", "signed_in")
LINK_PATH = "/sign-in/link?t="

Name = Annotated[str, typer.Argument(help="The name with which the user signs in.")]
Role = Annotated[str, typer.Option("--role", help="reader, analyst, administrator or auditor.")]
Place = Annotated[str | None, typer.Option("--org", help="The organisation of the role; without it, all of them.")]
How = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]


@app.callback()
def _users() -> None:
    """Have several commands."""


@app.command("list")
def list_users(context: typer.Context, how: How = None) -> Exit:
    """List the users, with their roles: organisation and role, * for all organisations."""
    from mingjian.cli.detect import time_text
    from mingjian.store.accounts import users
    from mingjian.store.catalogue import organisations
    from mingjian.store.scope import EVERYONE, Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.ensure_object(Settings)) as workspace:
        names = {each.id: each.name for each in organisations(workspace, scope)}
        found = users(workspace, scope)
    terminal.write_rows(
        (
            {
                "name": each.name,
                "title": each.title,
                "state": each.state,
                "roles": {
                    "*" if held.organisation is EVERYONE else names[held.organisation]: held.role
                    for held in each.memberships
                },
                "password": each.has_password,
                "codes": each.has_totp,
                "passkeys": each.passkeys,
                "signed_in": time_text(each.signed_in_us),
            }
            for each in found
        ),
        COLUMNS,
        terminal.choose_format(how),
    )
    return Exit.DONE


@app.command("add")
def add(
    context: typer.Context,
    name: Name,
    role: Role,
    organisation: Place = None,
    title: Annotated[str, typer.Option("--title", help="What people call the user.")] = "",
    language: Annotated[str, typer.Option("--language", help="Language of the pages: en or zh.")] = "en",
) -> Exit:
    """Make an account, and print a one-time sign-in link for it (the part after the address of the console)."""
    from mingjian.store.accounts import make_link, make_user, role_named
    from mingjian.store.scope import Membership, Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.ensure_object(Settings)) as workspace:
        held = [Membership(_place(workspace, organisation), role_named(role))]
        spoken = "zh" if language == "zh" else "en"
        made = make_user(workspace, scope, name, title=title, language=spoken, memberships=held)
        link = make_link(workspace, scope, made.public_id)
        _published(workspace)
    terminal.say(LINK_PATH + link.reveal())
    return Exit.DONE


@app.command("link")
def link(context: typer.Context, name: Name) -> Exit:
    """Print a new one-time sign-in link for a user, good for a day; earlier ones become worthless."""
    from mingjian.store.accounts import make_link
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        made = make_link(workspace, Scope.of_operator(), _user(workspace, name).public_id)
        _published(workspace)
    terminal.say(LINK_PATH + made.reveal())
    return Exit.DONE


@app.command("role")
def role(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Argument(help="reader, analyst, administrator or auditor; none takes it away.")],
    organisation: Place = None,
) -> Exit:
    """Give a user a role in an organisation, or take it away; it counts from the next request on."""
    from mingjian.store.accounts import role_named, set_role
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        wanted = None if role == "none" else role_named(role)
        place = _place(workspace, organisation)
        set_role(workspace, Scope.of_operator(), _user(workspace, name).public_id, place, wanted)
        _published(workspace)
    return Exit.DONE


@app.command("disable")
def disable(context: typer.Context, name: Name) -> Exit:
    """Disable an account: its sessions end at once, its tokens stop working."""
    _set_state(context, name, is_active=False)
    return Exit.DONE


@app.command("enable")
def enable(context: typer.Context, name: Name) -> Exit:
    """Let an account in again that was disabled."""
    _set_state(context, name, is_active=True)
    return Exit.DONE


@app.command("reset-factors")
def reset_factors(context: typer.Context, name: Name) -> Exit:
    """Take the one-time codes and passkeys of a user away who has lost them, and end the user's sessions."""
    from mingjian.store.accounts import remove_second_factor
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        remove_second_factor(workspace, Scope.of_operator(), _user(workspace, name).public_id)
        _published(workspace)
    return Exit.DONE


def _set_state(context: typer.Context, name: str, *, is_active: bool) -> None:
    from mingjian.store.accounts import set_state
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace:
        state = "active" if is_active else "disabled"
        set_state(workspace, Scope.of_operator(), _user(workspace, name).public_id, state)
        _published(workspace)


def _user(workspace: Workspace, name: str) -> User:
    from mingjian.store.accounts import user_named
    from mingjian.store.scope import Scope

    return user_named(workspace, Scope.of_operator(), name)


def _place(workspace: Workspace, organisation: str | None) -> OrganisationId | Everyone:
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import EVERYONE, Scope

    if organisation is None:
        return EVERYONE
    return organisation_named(workspace, Scope.of_operator(), organisation, make=True).id


def _published(workspace: Workspace) -> None:
    """Keep the checkpoint of what was just logged."""
    from mingjian.store.audit import publish

    publish(workspace)
