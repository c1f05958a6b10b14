import pytest

from mingjian.formats import auditd
from mingjian.formats.syscalls import syscall_name
from mingjian.model.values import Record
from text_logs import one, outcome, records


def body(type_: str, text: str) -> Record:
    """The fields of a record beside its head."""
    record = one(auditd.read, f"type={type_} msg=audit(1613123456.789:123): {text}")
    head = {name: record.pop(name) for name in ("type", "epoch", "serial", "timestamp", "time")}
    assert head == {
        "type": type_,
        "epoch": "1613123456.789",
        "timestamp": "1613123456.789",
        "serial": "123",
        "time": "2021-02-12T09:50:56.789Z",
    }
    return record


def test_quotes_go_and_encoded_values_are_decoded() -> None:
    assert body("PATH", 'item=0 name=2F7372762F6120E6988E inode=1 nametype=CREATE dir="/a b" exe=/usr/bin/x') == {
        "item": "0",
        "name": "/srv/a 明",
        "inode": "1",
        "nametype": "CREATE",
        "dir": "/a b",
        "exe": "/usr/bin/x",
    }


def test_only_fields_that_auditd_encodes_are_decoded() -> None:
    assert body("SYSCALL", 'a0=26 a1=4142 syscall=99999 comm="4142" key=(null) subj=4142') == {
        "a0": "26",
        "a1": "4142",
        "syscall": "99999",
        "comm": "4142",
        "key": "(null)",
        "subj": "4142",
    }


def test_the_title_of_a_process_has_blanks_for_its_nuls() -> None:
    assert body("PROCTITLE", "proctitle=7368002D6300") == {"proctitle": "sh -c"}


def test_several_keys_are_a_list() -> None:
    assert body("SYSCALL", "key=61016220") == {"key": ["a", "b "]}


def test_arguments_are_decoded_joined_and_put_on_one_line() -> None:
    assert body("EXECVE", 'argc=3 a0="sh" a1="-c" a2=6563686F2068692026') == {
        "argc": "3",
        "a0": "sh",
        "a1": "-c",
        "a2": "echo hi &",
        "command_line": "sh -c echo hi &",
    }
    assert body("EXECVE", 'argc=2 a0="x" a1_len=6 a1[1]=988E a1[0]=61E6') == {
        "argc": "2",
        "a0": "x",
        "a1_len": "6",
        "a1": "a明",
        "command_line": "x a明",
    }


def test_system_calls_have_names_unless_they_had_them_already() -> None:
    assert body("SYSCALL", "arch=c000003e syscall=59")["SYSCALL"] == "execve"
    assert body("SYSCALL", "arch=c00000b7 syscall=221")["SYSCALL"] == "execve"
    assert body("SYSCALL", "arch=40000003 syscall=11")["SYSCALL"] == "execve"
    assert body("SYSCALL", 'arch=c000003e syscall=59\x1dARCH=x86_64 SYSCALL=other AUID="root"') == {
        "arch": "c000003e",
        "syscall": "59",
        "ARCH": "x86_64",
        "SYSCALL": "other",
        "AUID": "root",
    }
    assert "SYSCALL" not in body("SYSCALL", "arch=deadbeef syscall=59")
    assert syscall_name("x86_64", "319") == "memfd_create"


def test_what_user_space_says_is_taken_out_of_its_quotes() -> None:
    inner = 'op=PAM:auth acct=72C3B6 exe="/usr/sbin/sshd" hostname=? addr=1.2.3.4 pid=9 res=failed'
    assert body("USER_AUTH", f"pid=3 uid=0 msg='{inner}'") == {
        "pid": "3",
        "uid": "0",
        "op": "PAM:auth",
        "acct": "rö",
        "exe": "/usr/sbin/sshd",
        "hostname": "?",
        "addr": "1.2.3.4",
        "res": "failed",
    }
    old = 'PAM: authentication acct="root" : exe="/x" (hostname=h, addr=1.2.3.4, terminal=ssh res=ok)'
    assert body("USER_LOGIN", f"user pid=1 uid=0 msg='{old}'") == {
        "pid": "1",
        "uid": "0",
        "acct": "root",
        "exe": "/x",
        "hostname": "h",
        "addr": "1.2.3.4",
        "terminal": "ssh",
        "res": "ok",
    }


@pytest.mark.parametrize(
    ("saddr", "address"),
    [
        ("02000050C0A801010000000000000000", {"saddr_fam": "inet", "laddr": "192.168.1.1", "lport": "80"}),
        (
            "0A0001BB0000000020010DB8000000000000000000000001" + "00000000",
            {"saddr_fam": "inet6", "lport": "443", "laddr": "2001:0db8:0000:0000:0000:0000:0000:0001"},
        ),
        ("0100" + "2F746D70" * 4, {}),
        ("02000050C0A8010", {}),
    ],
)
def test_socket_addresses_are_read(saddr: str, address: dict[str, str]) -> None:
    assert body("SOCKADDR", f"saddr={saddr}") == {"saddr": saddr, **address}


def test_an_enriched_address_is_kept_as_it_is() -> None:
    text = "saddr=02000050C0A801010000000000000000\x1dSADDR={ saddr_fam=inet laddr=9.9.9.9 lport=1 }"
    assert body("SOCKADDR", text)["laddr"] == "9.9.9.9"


def test_the_node_is_the_host_and_separators_are_passed_over() -> None:
    text = '----\ntime->Thu Feb 11\nnode=web1 type=CWD msg=audit(1613123456:7): cwd="/"\n\n'
    (record,) = records(auditd.read, text)
    assert (record["host"], record["time"], record["cwd"]) == ("web1", "2021-02-12T09:50:56Z", "/")


def test_other_lines_are_quarantined() -> None:
    found, bad = outcome(auditd.read, [b"hello\ntype=CWD msg=audit(999999999999.1:1): x=1\n"])
    assert found == []
    assert [each.reason for each in bad] == [
        "not an audit record: no audit(epoch:serial)",
        "time of the audit record is out of range",
    ]


def test_a_record_with_too_many_fields_is_refused_by_name() -> None:
    _, bad = outcome(auditd.read, [b"type=X msg=audit(1.1:1): " + b"a=1 " * 20_000])
    assert "FIELDS_MAX" in bad[0].reason
