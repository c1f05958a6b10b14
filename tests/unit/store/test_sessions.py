"""Signing in and sessions, on both databases."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest
import sqlalchemy as sa

from mingjian.errors import LimitExceeded, NotAuthenticated, NotFound, NotPermitted, SchemaError, StateError
from mingjian.store import accounts, attempts, audit, codes, factors, passwords, sessions, tables, tickets
from mingjian.store.accounts import User
from mingjian.store.catalogue import Organisation
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.sessions import CodeNeeded, Opened, Session
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Secret

OPERATOR = Scope.of_operator()
GOOD = Secret("correct horse battery")
HERE = {"address": "192.0.2.7", "agent": "test"}
S = 1_000_000


class Clock:
    """The clock of a workspace, which only the test moves."""

    def __init__(self, workspace: Workspace) -> None:
        self.now_us = 1_800_000_000 * S
        workspace.clock_us = lambda: self.now_us

    def wait(self, seconds: float) -> None:
        self.now_us += int(seconds * S)


@pytest.fixture
def clock(workspace: Workspace) -> Clock:
    return Clock(workspace)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with little work: what it costs is measured in one test of its own."""
    quick = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", quick)
    monkeypatch.setattr(passwords, "_NOBODYS", quick.hash("nobody's"))


def link_in(workspace: Workspace, user: User) -> Opened:
    token = accounts.make_link(workspace, OPERATOR, user.public_id)
    opened = sessions.use_link(workspace, token.reveal(), **HERE)
    assert isinstance(opened, Opened)
    return opened


@pytest.fixture
def ann(workspace: Workspace, clock: Clock, organisation: Organisation) -> User:
    made = accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(organisation.id, "analyst")])
    sessions.set_password(workspace, link_in(workspace, made).session, None, GOOD)
    return made


def password_in(workspace: Workspace) -> Opened:
    opened = sessions.sign_in(workspace, "Ann", GOOD, **HERE)
    assert isinstance(opened, Opened)
    return opened


def test_with_the_password_one_is_in(workspace: Workspace, ann: User, organisation: Organisation) -> None:
    opened = password_in(workspace)
    session = sessions.session_of(workspace, opened.token.reveal())
    assert (session.user.name, session.means, session.address) == ("ann", "password", "192.0.2.7")
    assert session.scope.may_write(organisation.id)
    assert session.scope.via == f"session {session.public_id}"
    assert password_in(workspace).token != opened.token, "each sign-in makes a new session"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", ""),
        ("ann", "wrong"),
        ("ann", GOOD.reveal() + " "),
        ("nobody", GOOD.reveal()),
        ("", ""),
        ("\0", "\udcff"),
    ],
)
def test_nothing_else_is_let_in_and_all_get_the_same_answer(
    workspace: Workspace, ann: User, name: str, password: str
) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        sessions.sign_in(workspace, name, Secret(password), **HERE)
    assert str(refused.value) == "there is no such user, or the password is another one"


def test_the_same_password_typed_on_another_keyboard_is_the_same(workspace: Workspace, ann: User) -> None:
    session = password_in(workspace).session
    sessions.set_password(workspace, session, GOOD, Secret("ﬁne caf\u00e9 on the corner"))
    assert isinstance(sessions.sign_in(workspace, "ann", Secret("fine cafe\u0301 on the corner"), **HERE), Opened)


def test_an_account_takes_ten_guesses_in_five_minutes_however_many_come_at_once(
    workspace: Workspace, ann: User, clock: Clock
) -> None:
    def guess(number: int) -> str:
        try:
            address = f"198.51.{number % 250}.1"
            sessions.sign_in(workspace, "ann", Secret(f"guess {number}"), address=address, agent="")
        except NotAuthenticated:
            return "looked at"
        except LimitExceeded as error:
            return error.limit
        return "in"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, range(120)))
    assert answers.count("looked at") == attempts.TRIES_PER_ACCOUNT_MAX
    assert answers.count("TRIES_PER_ACCOUNT_MAX") == 110
    with pytest.raises(LimitExceeded):
        sessions.sign_in(workspace, "ann", GOOD, **HERE)
    clock.wait(attempts.WINDOW_S - 1)
    with pytest.raises(LimitExceeded):
        sessions.sign_in(workspace, "ann", GOOD, **HERE)
    clock.wait(2)
    password_in(workspace)


def test_in_no_five_minutes_are_more_than_ten_guesses_looked_at(workspace: Workspace, ann: User, clock: Clock) -> None:
    looked_at: list[int] = []
    for _ in range(400):
        try:
            sessions.sign_in(workspace, "ann", Secret("guess"), address="2001:db8::1", agent="")
        except NotAuthenticated:
            looked_at.append(clock.now_us)
        except LimitExceeded:
            pass
        clock.wait(7)
    window = attempts.WINDOW_S * S
    worst = max(sum(1 for each in looked_at if start <= each < start + window) for start in looked_at)
    assert worst == attempts.TRIES_PER_ACCOUNT_MAX


def test_a_spray_over_many_names_is_stopped_by_its_address(workspace: Workspace, ann: User) -> None:
    answers: list[str] = []
    for number in range(100):
        try:
            sessions.sign_in(workspace, f"name{number}", GOOD, address=f"2001:db8:0:1::{number:x}", agent="")
        except NotAuthenticated:
            answers.append("looked at")
        except LimitExceeded as error:
            answers.append(error.limit)
    assert answers.count("looked at") == attempts.TRIES_PER_ADDRESS_MAX
    assert set(answers[attempts.TRIES_PER_ADDRESS_MAX :]) == {"TRIES_PER_ADDRESS_MAX"}
    password_in(workspace)


def test_many_people_behind_one_address_sign_in_as_often_as_they_like(workspace: Workspace, ann: User) -> None:
    for _ in range(attempts.TRIES_PER_ADDRESS_MAX + 10):
        password_in(workspace)


def test_a_locked_account_is_entered_by_a_new_link(workspace: Workspace, ann: User) -> None:
    for _ in range(attempts.TRIES_PER_ACCOUNT_MAX):
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(workspace, "ann", Secret("guess"), address="198.51.100.1", agent="")
    with pytest.raises(LimitExceeded):
        password_in(workspace)
    assert link_in(workspace, ann).session.user.name == "ann"


def test_a_name_that_nobody_has_takes_as_long(workspace: Workspace, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = passwords.PasswordHasher(time_cost=1, memory_cost=4096, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", slow)
    monkeypatch.setattr(passwords, "_NOBODYS", slow.hash("nobody's"))
    with workspace.begin() as connection:
        connection.execute(sa.update(tables.users).values(password=slow.hash(GOOD.reveal())))
    hashed = slow.hash(GOOD.reveal())

    def seconds(given: str | None) -> float:
        times: list[float] = []
        for _ in range(9):
            start = time.process_time()
            assert not passwords.is_password(given, Secret("guess"))
            times.append(time.process_time() - start)
        return statistics.median(times)

    assert 0.5 < seconds(hashed) / seconds(None) < 2


def test_the_parameters_of_the_hash_are_those_of_the_rfc() -> None:
    from importlib import reload

    fresh = reload(passwords)
    hashed = fresh.hash_of_password(GOOD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert fresh.is_password(hashed, GOOD)
    assert not fresh.is_password("nonsense", GOOD)


@pytest.mark.parametrize(
    "password", ["short", "x" * 257, "aaaaaaaaaaaaaaaaaa", "ababababababababab", "I am Annabel's cat"]
)
def test_what_cannot_be_a_password_is_refused(password: str) -> None:
    with pytest.raises(SchemaError):
        passwords.check_password(Secret(password), name="Annabel")


# --- sessions ------------------------------------------------------------------------------------------------------


def is_in(workspace: Workspace, opened: Opened) -> bool:
    try:
        sessions.session_of(workspace, opened.token.reveal())
    except NotAuthenticated:
        return False
    return True


def test_a_session_ends_an_hour_after_it_was_last_used(workspace: Workspace, ann: User, clock: Clock) -> None:
    opened = password_in(workspace)
    for _ in range(3):
        clock.wait(sessions.IDLE_S - 1)
        assert is_in(workspace, opened)
    clock.wait(sessions.IDLE_S)
    assert not is_in(workspace, opened)


def test_a_session_ends_after_a_day_however_it_is_used(workspace: Workspace, ann: User, clock: Clock) -> None:
    opened = password_in(workspace)
    for _ in range(47):
        clock.wait(1800)
        assert is_in(workspace, opened)
    clock.wait(1800)
    assert not is_in(workspace, opened)


def test_a_clock_that_is_set_back_lengthens_no_session(workspace: Workspace, ann: User, clock: Clock) -> None:
    opened = password_in(workspace)
    clock.wait(-sessions.CLOCK_SLACK_S)
    assert is_in(workspace, opened)
    clock.wait(-86_400)
    assert not is_in(workspace, opened)


@pytest.mark.parametrize("token", ["", "x", "a" * 201, "\udcff", "' OR 1=1 --"])
def test_what_is_no_token_is_nobody(workspace: Workspace, ann: User, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        sessions.session_of(workspace, token)


def test_what_the_database_holds_opens_no_session(workspace: Workspace, ann: User) -> None:
    password_in(workspace)
    with workspace.read() as connection:
        row = connection.execute(sa.select(tables.sessions)).first()
    assert row is not None
    for stolen in (row.digest.hex(), row.public_id):
        with pytest.raises(NotAuthenticated):
            sessions.session_of(workspace, stolen)


def test_signing_out_ends_the_session_for_good(workspace: Workspace, ann: User) -> None:
    opened, other = password_in(workspace), password_in(workspace)
    sessions.end_session(workspace, opened.session, opened.session.public_id)
    assert (is_in(workspace, opened), is_in(workspace, other)) == (False, True)
    with pytest.raises(NotFound):
        sessions.end_session(workspace, opened.session, opened.session.public_id)


def test_one_ends_ones_own_sessions_and_no_others(workspace: Workspace, ann: User) -> None:
    bob = accounts.make_user(workspace, OPERATOR, "bob", memberships=[])
    theirs, first, second = link_in(workspace, bob), password_in(workspace), password_in(workspace)
    with pytest.raises(NotFound):
        sessions.end_session(workspace, first.session, theirs.session.public_id)
    there = {each.public_id for each in sessions.sessions_of(workspace, first.session)}
    assert {first.session.public_id, second.session.public_id} <= there
    assert theirs.session.public_id not in there
    assert sessions.end_other_sessions(workspace, first.session) == len(there) - 1
    assert [is_in(workspace, each) for each in (theirs, first, second)] == [True, True, False]


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(
    workspace: Workspace, ann: User, organisation: Organisation
) -> None:
    opened = password_in(workspace)
    accounts.set_role(workspace, OPERATOR, ann.public_id, organisation.id, "reader")
    assert not sessions.session_of(workspace, opened.token.reveal()).scope.may_write(organisation.id)
    accounts.set_role(workspace, OPERATOR, ann.public_id, organisation.id, None)
    assert sessions.session_of(workspace, opened.token.reveal()).scope.readable() == ()
    accounts.set_state(workspace, OPERATOR, ann.public_id, "disabled")
    assert not is_in(workspace, opened)
    with pytest.raises(NotAuthenticated):
        password_in(workspace)


def test_a_user_has_so_many_sessions_and_the_oldest_end(
    workspace: Workspace, ann: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_PER_USER_MAX", 3)
    opened: list[Opened] = []
    for _ in range(5):
        clock.wait(1)
        opened.append(password_in(workspace))
    assert [is_in(workspace, each) for each in opened] == [False, False, True, True, True]


# --- links and passwords -------------------------------------------------------------------------------------------


def test_a_link_is_good_for_one_of_many_who_come_with_it(workspace: Workspace, ann: User) -> None:
    token = accounts.make_link(workspace, OPERATOR, ann.public_id)
    assert tickets.seen_ticket(workspace, "link", token.reveal())

    def use(number: int) -> bool:
        try:
            sessions.use_link(workspace, token.reveal(), address=f"198.51.100.{number}", agent="")
        except (NotAuthenticated, LimitExceeded):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(20))) == 1
    assert not tickets.seen_ticket(workspace, "link", token.reveal())


def test_a_link_is_not_good_for_long_and_the_newest_counts(workspace: Workspace, ann: User, clock: Clock) -> None:
    old = accounts.make_link(workspace, OPERATOR, ann.public_id)
    new = accounts.make_link(workspace, OPERATOR, ann.public_id, lifetime_s=60)
    for token in (old.reveal(), "x" * 300, ""):
        with pytest.raises(NotAuthenticated):
            sessions.use_link(workspace, token, **HERE)
    clock.wait(60)
    with pytest.raises(NotAuthenticated):
        sessions.use_link(workspace, new.reveal(), **HERE)
    with pytest.raises(SchemaError):
        accounts.make_link(workspace, OPERATOR, ann.public_id, lifetime_s=accounts.LINK_LIFETIME_S_MAX + 1)


def test_a_password_is_changed_with_the_old_one_and_ends_other_sessions(workspace: Workspace, ann: User) -> None:
    other, session = password_in(workspace), password_in(workspace).session
    new = Secret("another long sentence")
    with pytest.raises(NotPermitted):
        sessions.set_password(workspace, session, None, new)
    with pytest.raises(NotAuthenticated):
        sessions.set_password(workspace, session, Secret("wrong"), new)
    sessions.set_password(workspace, session, GOOD, new)
    assert not is_in(workspace, other)
    with pytest.raises(NotAuthenticated):
        password_in(workspace)
    assert isinstance(sessions.sign_in(workspace, "ann", new, **HERE), Opened)


def test_right_after_a_link_the_old_password_is_not_asked_for(workspace: Workspace, ann: User, clock: Clock) -> None:
    session = link_in(workspace, ann).session
    sessions.set_password(workspace, session, None, Secret("another long sentence"))
    stale = link_in(workspace, ann)
    clock.wait(sessions.FRESH_S)
    with pytest.raises(NotPermitted):
        sessions.set_password(
            workspace, sessions.session_of(workspace, stale.token.reveal()), None, Secret("a third long sentence")
        )


def test_tickets_of_a_kind_are_bounded(workspace: Workspace, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "TICKETS_MAX", 5)
    made: list[Secret] = []
    for _ in range(8):
        clock.wait(1)
        with workspace.begin() as connection:
            made.append(tickets.make_ticket(workspace, connection, "code", lifetime_s=300))
    there = [tickets.seen_ticket(workspace, "code", each.reveal()) is not None for each in made]
    assert there == [False] * 3 + [True] * 5
    assert not tickets.seen_ticket(workspace, "link", made[-1].reveal()), "a ticket is of one kind"


# --- one-time codes ------------------------------------------------------------------------------------------------


def with_codes(workspace: Workspace, clock: Clock) -> pyotp.totp.TOTP:
    session = password_in(workspace).session
    setup = factors.begin_codes(workspace, session)
    app = pyotp.totp.TOTP(setup.secret.reveal())
    factors.confirm_codes(workspace, session, setup.ticket.reveal(), app.at(clock.now_us / S))
    clock.wait(30)
    return app


def test_the_codes_are_those_of_the_rfc() -> None:
    """Source: RFC 6238, appendix B (SHA-1), of which the last six digits."""
    secret = Secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    for moment, code in ((59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")):
        assert codes.step_of(secret, code, moment * S) == moment // 30
        assert codes.step_of(secret, code, (moment + 60) * S) is None
    assert "issuer=Mingjian" in codes.address_of(secret, "ann").reveal()


def test_a_password_wants_the_code_too_and_a_code_counts_once(workspace: Workspace, ann: User, clock: Clock) -> None:
    app = with_codes(workspace, clock)
    code = app.at(clock.now_us / S)
    needed = sessions.sign_in(workspace, "ann", GOOD, **HERE)
    assert isinstance(needed, CodeNeeded)
    opened = sessions.give_code(workspace, needed.ticket.reveal(), code, **HERE)
    assert opened.session.user.has_totp
    again = sessions.sign_in(workspace, "ann", GOOD, **HERE)
    assert isinstance(again, CodeNeeded)
    with pytest.raises(NotAuthenticated, match="used"):
        sessions.give_code(workspace, again.ticket.reveal(), code, **HERE)
    with pytest.raises(NotAuthenticated, match="too long"):
        sessions.give_code(workspace, again.ticket.reveal(), app.at(clock.now_us / S + 30), **HERE)


def test_a_link_does_not_go_round_the_code(workspace: Workspace, ann: User, clock: Clock) -> None:
    app = with_codes(workspace, clock)
    token = accounts.make_link(workspace, OPERATOR, ann.public_id)
    needed = sessions.use_link(workspace, token.reveal(), **HERE)
    assert isinstance(needed, CodeNeeded)
    opened = sessions.give_code(workspace, needed.ticket.reveal(), app.at(clock.now_us / S), **HERE)
    assert opened.session.means == "link"


def test_codes_can_be_guessed_ten_times_and_not_more(workspace: Workspace, ann: User, clock: Clock) -> None:
    with_codes(workspace, clock)
    looked_at = 0
    for number in range(20):
        needed = sessions.sign_in(workspace, "ann", GOOD, address=f"198.51.{number}.1", agent="")
        assert isinstance(needed, CodeNeeded)
        try:
            sessions.give_code(workspace, needed.ticket.reveal(), "000000", address=f"198.51.{number}.1", agent="")
        except NotAuthenticated:
            looked_at += 1
        except LimitExceeded:
            pass
    assert looked_at == attempts.TRIES_PER_ACCOUNT_MAX


def test_a_ticket_for_the_code_is_not_good_for_long(workspace: Workspace, ann: User, clock: Clock) -> None:
    app = with_codes(workspace, clock)
    needed = sessions.sign_in(workspace, "ann", GOOD, **HERE)
    assert isinstance(needed, CodeNeeded)
    clock.wait(sessions.CODE_LIFETIME_S)
    with pytest.raises(NotAuthenticated, match="too long"):
        sessions.give_code(workspace, needed.ticket.reveal(), app.at(clock.now_us / S), **HERE)


def test_setting_up_codes_needs_a_code_of_the_app_and_a_fresh_session(
    workspace: Workspace, ann: User, clock: Clock
) -> None:
    opened = password_in(workspace)
    setup = factors.begin_codes(workspace, opened.session)
    with pytest.raises(NotAuthenticated):
        factors.confirm_codes(workspace, opened.session, setup.ticket.reveal(), "000000")
    with pytest.raises(NotAuthenticated):
        factors.confirm_codes(workspace, opened.session, setup.ticket.reveal(), "000000")
    assert not sessions.session_of(workspace, opened.token.reveal()).user.has_totp
    clock.wait(sessions.FRESH_S)
    stale = sessions.session_of(workspace, opened.token.reveal())
    with pytest.raises(NotPermitted, match="just now"):
        factors.begin_codes(workspace, stale)


def test_codes_are_given_up_with_a_code(workspace: Workspace, ann: User, clock: Clock) -> None:
    app = with_codes(workspace, clock)
    session = session_with_code(workspace, app, clock)
    with pytest.raises(StateError):
        factors.begin_codes(workspace, session)
    with pytest.raises(NotAuthenticated):
        factors.end_codes(workspace, session, "000000")
    clock.wait(30)
    factors.end_codes(workspace, session, app.at(clock.now_us / S))
    assert isinstance(sessions.sign_in(workspace, "ann", GOOD, **HERE), Opened)


def session_with_code(workspace: Workspace, app: pyotp.totp.TOTP, clock: Clock) -> Session:
    needed = sessions.sign_in(workspace, "ann", GOOD, **HERE)
    assert isinstance(needed, CodeNeeded)
    return sessions.give_code(workspace, needed.ticket.reveal(), app.at(clock.now_us / S), **HERE).session


def test_whoever_lost_the_app_gets_in_after_an_administrator_removed_it(
    workspace: Workspace, ann: User, clock: Clock
) -> None:
    with_codes(workspace, clock)
    accounts.remove_second_factor(workspace, OPERATOR, ann.public_id)
    assert isinstance(sessions.sign_in(workspace, "ann", GOOD, **HERE), Opened)


def test_the_database_holds_no_secret(workspace: Workspace, ann: User, clock: Clock) -> None:
    app = with_codes(workspace, clock)
    opened = sessions.sign_in(workspace, "ann", GOOD, **HERE)
    assert isinstance(opened, CodeNeeded)
    secrets = [app.secret, GOOD.reveal(), opened.ticket.reveal()]
    with workspace.read() as connection:
        content = "".join(
            repr(row) for table in tables.metadata.sorted_tables for row in connection.execute(sa.select(table))
        )
    assert [each for each in secrets if each in content] == []


def test_signing_in_and_what_fails_is_in_the_audit_log(workspace: Workspace, ann: User) -> None:
    start = len(audit.acts(workspace, OPERATOR))
    with pytest.raises(NotAuthenticated):
        sessions.sign_in(workspace, "ann", Secret("guess"), **HERE)
    with pytest.raises(NotAuthenticated):
        sessions.sign_in(workspace, "nobody", Secret("guess"), **HERE)
    session = password_in(workspace).session
    sessions.end_session(workspace, session, session.public_id)
    found = list(reversed(audit.acts(workspace, OPERATOR)[:-start]))
    assert [each.what for each in found] == ["sign-in.refused", "sign-in.done", "sign-in.ended"]
    assert {each.actor for each in found} == {"ann"}
    assert found[1].after == {"by": "password", "address": "192.0.2.7"}


def test_a_master_who_signs_in_is_known_to_the_first_run(workspace: Workspace, clock: Clock) -> None:
    master = accounts.make_user(workspace, OPERATOR, "m", memberships=[Membership(EVERYONE, "administrator")])
    assert accounts.first_run_link(workspace) is not None
    link_in(workspace, master)
    assert accounts.first_run_link(workspace) is None
