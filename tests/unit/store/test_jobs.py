"""Jobs, on both databases."""

import pytest

from mingjian.errors import NotFound, NotPermitted
from mingjian.store import jobs
from mingjian.store.catalogue import Organisation
from mingjian.store.rules import set_of
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()


def queued(workspace: Workspace, request: str = "{}") -> jobs.Job:
    empty = set_of(workspace, OPERATOR, [])
    return jobs.queue(workspace, OPERATOR, "rules", rule_set_id=empty, request=request)


def test_jobs_are_taken_in_the_order_in_which_they_came(workspace: Workspace, organisation: Organisation) -> None:
    first = queued(workspace)
    second = jobs.queue(workspace, OPERATOR, "rules", rule_set_id=first.rule_set_id, organisation=organisation.id)
    with jobs.worker(workspace) as ours:
        assert ours
        taken = [jobs.next_job(workspace, OPERATOR) for _ in range(3)]
    assert [job and (job.id, job.state) for job in taken] == [(first.id, "running"), (second.id, "running"), None]
    assert [job.id for job in jobs.jobs(workspace, OPERATOR)] == [second.id, first.id]


def test_what_waits_already_is_not_queued_twice(workspace: Workspace) -> None:
    assert queued(workspace).id == queued(workspace).id
    with jobs.worker(workspace):
        running = jobs.next_job(workspace, OPERATOR)
        assert running is not None
        assert queued(workspace).id != running.id


def test_a_job_that_was_left_behind_waits_again(workspace: Workspace) -> None:
    queued(workspace)
    with jobs.worker(workspace):
        first = jobs.next_job(workspace, OPERATOR)
    with jobs.worker(workspace):
        again = jobs.next_job(workspace, OPERATOR)
    assert first is not None
    assert again is not None
    assert (again.id, again.started_us) == (first.id, first.started_us)


def test_one_process_at_a_time_does_jobs(workspace: Workspace) -> None:
    queued(workspace)
    with jobs.worker(workspace) as first:
        jobs.next_job(workspace, OPERATOR)
        with jobs.worker(workspace) as second:
            assert (first, second) == (True, False)
        assert [job.state for job in jobs.jobs(workspace, OPERATOR)] == ["running"]


def test_progress_and_the_end_are_kept(workspace: Workspace) -> None:
    job = queued(workspace)
    with workspace.begin() as connection:
        jobs.progressed(job.id, total=4, done=3, results=7)(connection)
    jobs.finish(workspace, OPERATOR, job.id, "failed", "x" * 9_999)
    ended = jobs.job_by_id(workspace, OPERATOR, job.id)
    assert (ended.segments_total, ended.segments_done, ended.results, ended.state) == (4, 3, 7, "failed")
    assert len(ended.error) == jobs.ERROR_CHARACTERS_MAX
    assert ended.finished_us is not None
    assert jobs.jobs(workspace, OPERATOR, states=["waiting", "running"]) == []


def test_jobs_of_others_are_not_there(workspace: Workspace, organisation: Organisation) -> None:
    everywhere = queued(workspace)
    theirs = jobs.queue(workspace, OPERATOR, "rules", rule_set_id=everywhere.rule_set_id, organisation=organisation.id)
    stranger = Scope.of_member("ann", [], [OrganisationId(organisation.id + 1)])
    assert jobs.jobs(workspace, stranger) == []
    assert jobs.next_job(workspace, stranger) is None
    with pytest.raises(NotFound):
        jobs.job_by_id(workspace, stranger, theirs.id)
    with pytest.raises(NotPermitted):
        jobs.queue(workspace, stranger, "rules", rule_set_id=everywhere.rule_set_id)
    with pytest.raises(NotFound):
        jobs.queue(workspace, stranger, "rules", rule_set_id=everywhere.rule_set_id, organisation=organisation.id)
    member = Scope.of_member("bob", [organisation.id])
    assert [job.id for job in jobs.jobs(workspace, member)] == [theirs.id]
