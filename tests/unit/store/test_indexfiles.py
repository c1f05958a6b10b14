"""The catalogue's part of the sightings index."""

import pytest

from lakes import OPERATOR, kept
from mingjian.errors import StateError
from mingjian.store.catalogue import Batch, Organisation, commit_batch
from mingjian.store.indexfiles import live_index_files, replace_index_files, segments_replaced, with_index_file
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.workspace import Workspace


def an_index_file(name: str) -> IndexFile:
    return IndexFile(
        name=name,
        size_bytes=1000,
        values=7,
        rows=9,
        count=2**40,
        first_day=None,
        last_day=20_000,
        organisations=(1, 3),
        content_hash=b"\0h",
        canonical_version=1,
    )


def test_a_file_counts_from_its_commit_to_its_merge(workspace: Workspace, organisation: Organisation) -> None:
    one, two, both = map(an_index_file, ("one", "two", "both"))
    for file in (one, two):
        commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id), [with_index_file(file)])
    assert live_index_files(workspace) == [one, two]
    replace_index_files(workspace, ["one", "two"], [both])
    assert live_index_files(workspace) == [both]


def test_of_two_merges_of_the_same_files_one_counts(workspace: Workspace, organisation: Organisation) -> None:
    files = list(map(an_index_file, ("one", "two")))
    for file in files:
        commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id), [with_index_file(file)])
    with pytest.raises(StateError):
        replace_index_files(workspace, ["one", "gone"], [an_index_file("merged")])
    assert live_index_files(workspace) == files


def test_live_segments_are_not_replaced(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}])
    assert segments_replaced(workspace) == {}
