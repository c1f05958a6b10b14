"""Archives and compression: what is delivered, under which name, and what is refused."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats import containers
from mingjian.formats.containers import Member, container_kind, open_members
from mingjian.model.blocks import Quarantined

LINES = b"".join(b'{"line": %d}\n' % number for number in range(2000))


def opened(data: bytes, name: str = "f") -> tuple[dict[str, bytes], list[Quarantined]]:
    members: dict[str, bytes] = {}
    problems: list[Quarantined] = []
    for each in open_members(name, io.BytesIO(data), modified_at_s=5.0):
        if isinstance(each, Member):
            assert each.name not in members
            members[each.name] = b"".join(each.chunks)
        else:
            problems.append(each)
    return members, problems


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], kind: int = tarfile.PAX_FORMAT, mtime: float = 7) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def test_a_file_that_is_no_container_is_its_own_member() -> None:
    assert opened(LINES) == ({"f": LINES}, [])
    assert opened(b"") == ({"f": b""}, [])


@pytest.mark.parametrize("pack", [lambda data: gzip.compress(data, mtime=0), zstandard.compress])
def test_compression_is_undone_also_of_several_streams_in_a_row(pack) -> None:
    assert opened(pack(LINES)) == ({"f": LINES}, [])
    assert opened(pack(LINES) + pack(b"") + pack(b"more")) == ({"f": LINES + b"more"}, [])


def test_gzip_may_be_padded_with_zeros_and_tells_its_time() -> None:
    assert opened(gzip.compress(LINES, mtime=0) + bytes(1000)) == ({"f": LINES}, [])
    (member,) = open_members("f", io.BytesIO(gzip.compress(LINES, mtime=1234)), modified_at_s=5.0)
    assert isinstance(member, Member)
    assert member.modified_at_s == 1234


def test_a_skippable_frame_of_zstandard_is_passed_over() -> None:
    frame = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"abcd"
    assert opened(frame + zstandard.compress(LINES)) == ({"f": LINES}, [])


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_of_a_file_that_is_cut_off_all_that_is_there_is_delivered_with_one_complaint(keep: float) -> None:
    data = noise(400_000)
    for pack in (lambda data: gzip.compress(data, mtime=0), zstandard.compress):
        whole = pack(data)
        members, problems = opened(whole[: int(len(whole) * keep)])
        assert data.startswith(members["f"])
        assert len(members["f"]) > len(data) * keep - 140_000  # one block of Zstandard is 128 KiB
        assert [problem.reason for problem in problems] == ["the compressed data ends too early"]
        assert problems[0].offset == len(members["f"])


def test_data_before_a_damaged_place_in_gzip_is_delivered_to_the_last_byte() -> None:
    packed = bytearray(gzip.compress(LINES, mtime=0))
    packed[-6] ^= 1  # the checksum, after everything
    members, problems = opened(bytes(packed))
    assert members == {"f": LINES}
    assert len(problems) == 1
    assert problems[0].reason.startswith("damaged compressed data")
    packed = bytearray(gzip.compress(noise(300_000), mtime=0))
    packed[200_000:200_100] = bytes(100)
    members, problems = opened(bytes(packed))
    assert noise(300_000).startswith(members["f"][:199_000])
    assert len(problems) == 1


def test_bytes_after_compressed_data_are_quarantined_with_them() -> None:
    members, problems = opened(gzip.compress(LINES, mtime=0) + b"garbage")
    assert members == {"f": LINES}
    assert [(problem.data, problem.offset) for problem in problems] == [(b"garbage", len(LINES))]
    members, problems = opened(zstandard.compress(LINES) + b"garbage")
    assert members == {"f": LINES}
    assert [problem.reason for problem in problems] == ["bytes after the compressed data"]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("pack", [bytes, lambda data: gzip.compress(data, mtime=0), zstandard.compress])
def test_tar_gives_its_members_under_their_names(kind: int, pack) -> None:
    names = {"a.log": LINES, "d/" + "x" * 90 + "/b.log": b"", "日志.log": b"x" * 512}
    if kind != tarfile.USTAR_FORMAT:
        names["long/" * 60 + "c"] = b"y" * 513
    members, problems = opened(pack(tarred(names, kind)), "t")
    assert members == {f"t!{name}": data for name, data in names.items()}
    assert problems == []


def test_tar_tells_times_and_big_numbers() -> None:
    found = list(open_members("t", io.BytesIO(tarred({"a": b"1"}, tarfile.PAX_FORMAT, 8.5))))
    assert [member.modified_at_s for member in found if isinstance(member, Member)] == [8.5]
    found = list(open_members("t", io.BytesIO(tarred({"a": b"1"}, tarfile.GNU_FORMAT, 2**40))))
    assert [member.modified_at_s for member in found if isinstance(member, Member)] == [2**40]


def test_tar_archives_one_after_the_other_are_one() -> None:
    members, problems = opened(tarred({"a": b"1"}) + tarred({"b": b"2"}))
    assert members == {"f!a": b"1", "f!b": b"2"}
    assert problems == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:1024], "ends without its end marker"),
        (lambda data: data[:600], "ends inside its member 'a'"),
        (lambda data: data[:1300], "ends inside a header"),
        (lambda data: data[:1024] + b"x" * 512 + data[1536:], "its checksum is wrong"),
    ],
)
def test_a_damaged_tar_gives_what_is_before_the_damage_and_one_complaint(change, reason: str) -> None:
    members, problems = opened(change(tarred({"a": b"1" * 400, "b": b"2" * 400}, tarfile.USTAR_FORMAT)))
    assert b"1" * 80 in members["f!a"]
    assert len(problems) == 1
    assert reason in problems[0].reason


def test_a_tar_inside_gzip_that_ends_early_is_one_complaint() -> None:
    packed = gzip.compress(tarred({"a": LINES}), mtime=0)
    members, problems = opened(packed[:-10])
    assert members == {"f!a": LINES}
    assert [problem.reason for problem in problems] == ["the compressed data ends too early"]


def test_links_and_devices_in_tar_are_not_opened() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in [("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("c", tarfile.CHRTYPE),
                           ("b", tarfile.BLKTYPE), ("p", tarfile.FIFOTYPE), ("d", tarfile.DIRTYPE)]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("after")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    members, problems = opened(out.getvalue())
    assert members == {"f!after": b"ok"}
    assert [(problem.file, problem.reason) for problem in problems] == [
        ("f!s", "a member that is a symbolic link is not opened"),
        ("f!h", "a member that is a hard link is not opened"),
        ("f!c", "a member that is a character device is not opened"),
        ("f!b", "a member that is a block device is not opened"),
        ("f!p", "a member that is a named pipe is not opened"),
    ]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..\\x", "a/.."])
def test_names_that_climb_out_are_not_opened(name: str) -> None:
    for data in (tarred({name: b"bad", "ok": b"good"}), zipped({name: b"bad", "ok": b"good"})):
        members, problems = opened(data)
        assert members == {"f!ok": b"good"}
        assert len(problems) == 1
        assert "is not opened" in problems[0].reason


def test_an_absolute_name_loses_its_slash() -> None:
    assert opened(tarred({"/var/log/messages": b"x"})) == ({"f!var/log/messages": b"x"}, [])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_gives_its_members_under_their_names(method: int) -> None:
    names = {"a/b.json": LINES, "empty": b"", "日志.log": noise(300_000)}
    members, problems = opened(zipped({**names, "folder/": b""}, method), "z.zip")
    assert members == {f"z.zip!{name}": data for name, data in names.items()}
    assert problems == []


def test_a_zip_name_in_gb18030_is_read() -> None:
    data = zipped({"xx.log": b"1"}).replace(b"xx.log", "日".encode("gb18030") + b".log")
    assert opened(data)[0] == {"f!日.log": b"1"}


def test_what_a_zip_cannot_give_is_named() -> None:
    whole = zipped({"a": LINES, "b": b"ok"})
    encrypted = bytearray(whole)
    at = whole.index(b"PK\x01\x02")
    encrypted[at + 8] |= 1
    members, problems = opened(bytes(encrypted))
    assert members == {"f!b": b"ok"}
    assert "encrypted" in problems[0].reason
    members, problems = opened(zipped({"a": LINES}, zipfile.ZIP_BZIP2))
    assert members == {}
    assert "compression method 12 is not supported" in problems[0].reason
    members, problems = opened(whole[: len(whole) // 2])
    assert members == {}
    assert "directory cannot be read" in problems[0].reason
    wrong = bytearray(whole)
    wrong[at + 16] ^= 1  # the checksum
    members, problems = opened(bytes(wrong))
    assert members == {"f!a": LINES, "f!b": b"ok"}
    assert [problem.reason for problem in problems] == ["the checksum or the size of a member is wrong"]


def test_a_symbolic_link_in_a_zip_is_not_opened() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    members, problems = opened(out.getvalue())
    assert members == {}
    assert "a link or a device" in problems[0].reason


def test_archives_in_archives_are_opened_one_level_deep() -> None:
    inner = {"x.log": LINES}
    members, problems = opened(zipped({"a.tar.gz": gzip.compress(tarred(inner), mtime=0), "b.zip": zipped(inner)}))
    assert members == {"f!a.tar.gz!x.log": LINES, "f!b.zip!x.log": LINES}
    assert problems == []
    members, problems = opened(tarred({"a.gz": gzip.compress(LINES, mtime=0), "b.zst": zstandard.compress(LINES)}))
    assert members == {"f!a.gz": LINES, "f!b.zst": LINES}
    members, problems = opened(tarred({"a.tar": tarred({"b.tar": tarred({"c": b"1"}), "d": b"2"})}))
    assert members == {"f!a.tar!d": b"2"}
    assert [problem.reason for problem in problems] == ["more than ARCHIVE_DEPTH_MAX allows (2)"]
    thrice = gzip.compress(gzip.compress(gzip.compress(LINES)))
    assert [problem.reason for problem in opened(thrice)[1]] == ["more than COMPRESSION_DEPTH_MAX allows (2)"]


def test_real_logs_compress_so_well_that_the_ratio_must_allow_for_it() -> None:
    line = b"Nov %2d %02d:%02d:%02d host CRON[%d]: (root) CMD (true)\n"
    moments = range(0, 1_500_000)
    steady = b"".join(line % (i // 86_400, i // 3600 % 24, i // 60 % 60, i % 60, 100 + 7 * i % 32_000) for i in moments)
    assert len(steady) > containers.RATIO_FREE_BYTES
    for packed in (zlib.compress(steady, 9, 31), zstandard.ZstdCompressor(level=12).compress(steady)):
        size = 0
        for member in open_members("f", io.BytesIO(packed)):
            assert isinstance(member, Member)
            size += sum(map(len, member.chunks))
        assert size == len(steady)


def test_a_member_that_nobody_reads_is_passed_over() -> None:
    found = list(open_members("f", io.BytesIO(tarred({"a": LINES, "b": LINES}))))
    assert [member.name for member in found if isinstance(member, Member)] == ["f!a", "f!b"]


class _Slow(io.RawIOBase):
    """Gives few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes
        self._turn = 0

    def read(self, size: int = -1) -> bytes:
        self._turn += 1
        few = self._sizes[self._turn % len(self._sizes)]
        return self._data.read(few if size < 0 else min(size, few))


@given(
    st.sampled_from(range(6)),
    st.lists(st.integers(1, 700), min_size=1, max_size=5),
    st.integers(0, 4000),
    st.booleans(),
)
def test_how_the_bytes_are_cut_never_changes_the_members(which: int, sizes: list[int], at: int, broken: bool) -> None:
    data = bytearray(list(_streams())[which])
    if broken:
        data[at % len(data)] ^= 0x55
        data = data[: len(data) - at % 7]
    slow: dict[str, bytes] = {}
    problems = []
    for each in open_members("f", _Slow(bytes(data), sizes), modified_at_s=5.0):  # type: ignore[arg-type]  # all that is needed of it is read
        if isinstance(each, Member):
            slow[each.name] = b"".join(each.chunks)
        else:
            problems.append((each.file, each.offset, each.code))
    if container_kind(bytes(data[:512])) != "zip":
        whole = opened(bytes(data))
        assert slow == whole[0]
        assert problems == [(problem.file, problem.offset, problem.code) for problem in whole[1]]


def _streams() -> Iterator[bytes]:
    small = LINES[:3000]
    yield gzip.compress(small, mtime=0)
    yield zstandard.compress(noise(3000))
    yield tarred({"a": small, "b": b"x" * 600})
    yield gzip.compress(tarred({"a": small, "b.gz": gzip.compress(small, mtime=0)}), mtime=0)
    yield zstandard.compress(tarred({"a": small, "z.zip": zipped({"c": small})}))
    yield small


def test_archives_of_real_logs_give_every_line(shared_data: Path) -> None:
    lines = 0
    problems: list[Quarantined] = []
    for path in sorted((shared_data / "windows-json").rglob("*.*z*")):
        with path.open("rb") as stream:
            for each in open_members(path.name, stream):
                if isinstance(each, Member):
                    lines += sum(chunk.count(b"\n") for chunk in each.chunks)
                else:
                    problems.append(each)
    assert lines == 261_355
    assert sorted((problem.file, problem.reason) for problem in problems) == [
        ("covenant_persiststartup.tar.gz", "the compressed data ends too early"),
        ("covenant_persistwmi.tar.gz", "the compressed data ends too early"),
        ("empire_invoke_runas.tar.gz", "the compressed data ends too early"),
    ]
