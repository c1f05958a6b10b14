"""What segments are, kept in columns: the same as what the database says, whatever came or went since."""

from pathlib import Path

import numpy as np

from lakes import OPERATOR, an_input, kept
from mingjian.store import briefs as module
from mingjian.store.briefs import NO_DAY, PORTION, briefs_of, stream_names
from mingjian.store.catalogue import Organisation
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace


def test_it_says_what_the_catalogue_says(
    workspace: Workspace, organisation: Organisation, tmp_path: Path, monkeypatch: object
) -> None:
    number = an_input(workspace, organisation)
    ids = [
        kept(workspace, organisation, [{"a": n}] * (n + 1), stream=f"s/{n % 2}", day=day, input_id=number).id
        for n, day in enumerate((20_000, None, 19_000, 20_000))
    ]
    few = briefs_of(workspace, OPERATOR, np.array(ids))
    assert few.days.tolist() == few.last_days.tolist() == [20_000, NO_DAY, 19_000, 20_000]
    assert few.rows.tolist() == [1, 2, 3, 4]
    assert [stream_names(workspace)[each] for each in few.streams.tolist()] == ["s/0", "s/1", "s/0", "s/1"]
    many = np.arange(0, ids[-1] + PORTION + 2)
    for folder in (None, tmp_path / "cache", tmp_path / "cache"):
        module._known.clear()  # as in another process
        for _ in range(2):
            found = briefs_of(workspace, OPERATOR, many, cache_folder=folder)
            assert [column.tolist() for column in found] == [column.tolist() for column in few]
    assert not len(briefs_of(workspace, OPERATOR, np.zeros(0, np.int64)).ids)


def test_what_came_since_is_there_and_others_are_not_shown(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    number = an_input(workspace, organisation)
    many = np.arange(0, PORTION * 3)
    first = kept(workspace, organisation, [{"a": 1}], input_id=number).id
    assert briefs_of(workspace, OPERATOR, many, cache_folder=tmp_path).ids.tolist() == [first]
    second = kept(workspace, organisation, [{"a": 2}], input_id=number).id
    assert briefs_of(workspace, OPERATOR, many, cache_folder=tmp_path).ids.tolist() == [first, second]
    nobody = Scope.of_roles("nobody", ())
    assert not len(briefs_of(workspace, nobody, many, cache_folder=tmp_path).ids)


def test_another_state_of_the_workspace_is_noticed(
    workspace: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    many = np.arange(0, PORTION * 3)
    kept(workspace, organisation, [{"a": 1}])
    known = module._up_to_date(workspace, None)
    wrong = known.copy()
    wrong[-1, 3] += 1
    module._known[workspace.public_id] = wrong
    assert briefs_of(workspace, OPERATOR, many).days.tolist() == [20_000]
    module._known.clear()
    file = tmp_path / f"{workspace.public_id}{module.SUFFIX}"
    for damaged in (b"", b"nonsense", b"\x93NUMPY\x01\x00v\x00{"):
        file.write_bytes(damaged)
        assert briefs_of(workspace, OPERATOR, many, cache_folder=tmp_path).days.tolist() == [20_000]
        module._known.clear()
