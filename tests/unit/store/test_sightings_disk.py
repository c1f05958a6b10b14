"""The folder on the disk: what fails is a StorageError that says where."""

from pathlib import Path

import pytest

from mingjian.errors import StorageError
from mingjian.store.sightings.disk import DiskFolder


def test_a_file_is_written_gone_on_with_renamed_read_and_removed(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path / "new" / "folder")
    file = folder.write("a.part")
    file.write(b"0123456789")
    file.sync()
    file.close()
    file = folder.write("a.part", 4)
    file.write(b"xyz")
    assert file.size_bytes == 7
    file.sync()
    file.close()
    folder.rename("a.part", "a.sightings")
    folder.sync()
    assert folder.names() == ["a.sightings"]
    reading = folder.read("a.sightings")
    folder.remove("a.sightings")
    folder.remove("a.sightings")
    assert reading.size_bytes == 7
    reading.foresee([(2, 502)])
    assert reading.read_at(2, 5) == b"23xyz"
    with pytest.raises(StorageError, match="ends before byte 8"):
        reading.read_at(2, 6)
    reading.close()
    reading.close()
    assert folder.names() == []


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "A", "a" * 200, "a\0"])
def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, name: str) -> None:
    folder = DiskFolder(tmp_path)
    for work in (
        folder.read,
        folder.write,
        folder.remove,
        lambda n: folder.rename(n, "b"),
        lambda n: folder.rename("b", n),
    ):
        (tmp_path / "b").write_bytes(b"")
        with pytest.raises(StorageError, match="is not the name"):
            work(name)


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "full").symlink_to("/dev/full")
    file = DiskFolder(tmp_path).write("full")
    file.write(b"x")
    for work in (file.sync, file.close):
        with pytest.raises(StorageError, match="No space left on device"):
            work()


def test_what_is_not_there_cannot_be_read_or_gone_on_with(tmp_path: Path) -> None:
    folder = DiskFolder(tmp_path)
    with pytest.raises(StorageError, match="cannot open"):
        folder.read("none")
    with pytest.raises(StorageError, match="less than 5 bytes"):
        folder.write("none", 5)
    with pytest.raises(StorageError, match="cannot make the folder"):
        (tmp_path / "file").write_bytes(b"")
        DiskFolder(tmp_path / "file" / "folder")
