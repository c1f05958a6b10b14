import pytest

from mingjian.formats.programs import add_program_fields
from mingjian.model.values import Record

PEER = {"src_host": "mx.a.example", "src_ip": "192.0.2.9"}
MAIL = [
    ("postfix/smtpd", "connect from mx.a.example[192.0.2.9]", {"action": "connect", **PEER}),
    ("postfix/smtpd", "connect from unknown[192.0.2.9]:4711", {"action": "connect", "src_ip": "192.0.2.9"}),
    ("postfix/smtpd", "disconnect from mx.a.example[192.0.2.9] ehlo=1 quit=1", {"action": "disconnect", **PEER}),
    (
        "postfix/smtpd",
        "lost connection after DATA (12 bytes) from mx.a.example[192.0.2.9]",
        {"action": "lost", "after": "DATA", **PEER},
    ),
    (
        "postfix/submission/smtpd",
        "4D2A1C0F3E: client=mx.a.example[192.0.2.9], sasl_method=PLAIN, sasl_username=carol",
        {"action": "received", "queue_id": "4D2A1C0F3E", "sasl_method": "PLAIN", "user": "carol", **PEER},
    ),
    (
        "postfix/smtpd",
        "warning: mx.a.example[192.0.2.9]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
        {"action": "authentication_failure", "sasl_method": "LOGIN", "reason": "UGFzc3dvcmQ6", **PEER},
    ),
    (
        "postfix/smtpd",
        "NOQUEUE: reject: RCPT from mx.a.example[192.0.2.9]: 554 5.7.1 <e@b.example>: Relay access denied; "
        "from=<a@b.example> to=<e@b.example> proto=ESMTP helo=<x; from=<y@z.example>>",
        {
            "action": "reject",
            "reason": "554 5.7.1 <e@b.example>: Relay access denied",
            "from": "a@b.example",
            "to": "e@b.example",
            "proto": "ESMTP",
            "helo": "x; from=<y@z.example",
            **PEER,
        },
    ),
    (
        "postfix/cleanup",
        "4D2A1C0F3E: message-id=<a@b>",
        {"action": "message", "queue_id": "4D2A1C0F3E", "message_id": "a@b"},
    ),
    (
        "postfix/qmgr",
        "4D2A1C0F3E: from=<bob@a.example>, size=48210, nrcpt=1 (queue active)",
        {"action": "queued", "queue_id": "4D2A1C0F3E", "from": "bob@a.example", "size": "48210", "nrcpt": "1"},
    ),
    ("postfix/qmgr", "4D2A1C0F3E: from=<>, status=expired", {"queue_id": "4D2A1C0F3E"}),
    ("postfix/qmgr", "4D2A1C0F3E: removed", {"queue_id": "4D2A1C0F3E"}),
    (
        "postfix/smtp",
        "4D2A1C0F3E: to=<a@b.example>, orig_to=<c@b.example>, relay=mx.b.example[192.0.2.25]:25, delay=1.1, "
        "delays=0.4/0/0.3/0.4, dsn=2.0.0, status=sent (250 Ok to=<x@y.example>, relay=z[1.2.3.4]:25)",
        {
            "action": "delivery",
            "queue_id": "4D2A1C0F3E",
            "to": "a@b.example",
            "orig_to": "c@b.example",
            "dst_host": "mx.b.example",
            "dst_ip": "192.0.2.25",
            "dst_port": "25",
            "status": "sent",
            "reason": "250 Ok to=<x@y.example>, relay=z[1.2.3.4]:25",
        },
    ),
    (
        "postfix/local",
        "4D2A1C0F3E: to=<root@b.example>, relay=local, delay=0.1, dsn=2.0.0, status=sent (delivered to mailbox)",
        {
            "action": "delivery",
            "queue_id": "4D2A1C0F3E",
            "to": "root@b.example",
            "relay": "local",
            "status": "sent",
            "reason": "delivered to mailbox",
        },
    ),
    (
        "postfix/postscreen",
        "CONNECT from [192.0.2.9]:4711 to [192.0.2.25]:25",
        {"action": "CONNECT", "src_ip": "192.0.2.9", "src_port": "4711"},
    ),
]
CASES = [
    *MAIL,
    (
        "sshd",
        "Accepted publickey for root from 1.2.3.4 port 50 ssh2: RSA SHA256:abc",
        {
            "action": "accepted",
            "user": "root",
            "method": "publickey",
            "src_ip": "1.2.3.4",
            "src_port": "50",
            "key": "RSA SHA256:abc",
        },
    ),
    (
        "sshd",
        "Failed password for invalid user a from 6.6.6.6 port 1 from 1.2.3.4 port 7 ssh2",
        {
            "action": "failed",
            "method": "password",
            "invalid_user": True,
            "user": "a from 6.6.6.6 port 1",
            "src_ip": "1.2.3.4",
            "src_port": "7",
        },
    ),
    (
        "sshd",
        "Failed none for invalid user  from ::1 port 7 ssh2",
        {"action": "failed", "method": "none", "invalid_user": True, "src_ip": "::1", "src_port": "7"},
    ),
    ("sshd", "Invalid user  from 1.2.3.4", {"action": "invalid_user", "invalid_user": True, "src_ip": "1.2.3.4"}),
    (
        "sshd",
        "input_userauth_request: invalid user admin [preauth]",
        {"action": "invalid_user", "invalid_user": True, "user": "admin"},
    ),
    (
        "sshd",
        "Connection closed by authenticating user root 1.2.3.4 port 5 [preauth]",
        {"action": "closed", "user": "root", "src_ip": "1.2.3.4", "src_port": "5"},
    ),
    (
        "sshd",
        "Connection closed by invalid user x 6.6.6.6 port 1 1.2.3.4 port 5 [preauth]",
        {"action": "closed", "invalid_user": True, "user": "x 6.6.6.6 port 1", "src_ip": "1.2.3.4", "src_port": "5"},
    ),
    ("sshd", "Connection closed by 1.2.3.4 [preauth]", {"action": "closed", "src_ip": "1.2.3.4"}),
    (
        "sshd",
        "Disconnected from user bob 1.2.3.4 port 5",
        {"action": "disconnected", "user": "bob", "src_ip": "1.2.3.4", "src_port": "5"},
    ),
    (
        "sshd",
        "Received disconnect from 1.2.3.4: 11: Bye Bye [preauth]",
        {"action": "disconnected", "src_ip": "1.2.3.4", "code": "11", "reason": "Bye Bye [preauth]"},
    ),
    (
        "sshd",
        "Received disconnect from fe80::1 port 22:11: disconnected by user",
        {
            "action": "disconnected",
            "src_ip": "fe80::1",
            "src_port": "22",
            "code": "11",
            "reason": "disconnected by user",
        },
    ),
    (
        "sshd",
        "error: maximum authentication attempts exceeded for root from 1.2.3.4 port 9 ssh2 [preauth]",
        {"action": "too_many_failures", "user": "root", "src_ip": "1.2.3.4", "src_port": "9"},
    ),
    (
        "sshd",
        "reverse mapping checking getaddrinfo for a.b [1.2.3.4] failed - POSSIBLE BREAK-IN ATTEMPT!",
        {"action": "reverse_mapping_failed", "src_host": "a.b", "src_ip": "1.2.3.4"},
    ),
    (
        "sshd",
        "User root from h.example not allowed because not listed in AllowUsers",
        {"action": "not_allowed", "user": "root", "src_host": "h.example", "reason": "not listed in AllowUsers"},
    ),
    (
        "sshd",
        "message repeated 5 times: [ Failed password for root from 1.2.3.4 port 5 ssh2]",
        {"action": "failed", "repeated": 5, "method": "password", "user": "root", "src_ip": "1.2.3.4", "src_port": "5"},
    ),
    (
        "sshd",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4  user=uucp",
        {
            "pam_module": "pam_unix",
            "pam_service": "sshd",
            "pam_type": "auth",
            "action": "authentication_failure",
            "uid": "0",
            "euid": "0",
            "tty": "ssh",
            "rhost": "1.2.3.4",
            "src_ip": "1.2.3.4",
            "user": "uucp",
        },
    ),
    (
        "su(pam_unix)",
        "session opened for user cyrus by root(uid=0)",
        {"pam_module": "pam_unix", "pam_service": "su", "action": "session_opened", "user": "cyrus", "by": "root"},
    ),
    (
        "sudo",
        "  bob : TTY=pts/0 ; PWD=/home/bob ; USER=#-1 ; COMMAND=/bin/sh -c x ; USER=y",
        {
            "action": "sudo",
            "user": "bob",
            "TTY": "pts/0",
            "PWD": "/home/bob",
            "USER": "#-1",
            "COMMAND": "/bin/sh -c x ; USER=y",
        },
    ),
    (
        "sudo",
        "eve : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/su",
        {
            "action": "sudo_failed",
            "reason": "user NOT in sudoers",
            "user": "eve",
            "TTY": "pts/1",
            "PWD": "/",
            "USER": "root",
            "COMMAND": "/bin/su",
        },
    ),
    (
        "su",
        "FAILED SU (to root) eve on pts/1",
        {"action": "su_failed", "target_user": "root", "user": "eve", "tty": "pts/1"},
    ),
    ("su", "+ /dev/pts/0 eve:root", {"action": "su", "tty": "/dev/pts/0", "user": "eve", "target_user": "root"}),
    (
        "CRON",
        "(root) CMD (test -x /x || (cd / && run))",
        {"action": "CMD", "user": "root", "command": "test -x /x || (cd / && run)"},
    ),
    ("crontab", "(eve) BEGIN EDIT (eve)", {"action": "BEGIN EDIT", "user": "eve", "command": "eve"}),
    (
        "useradd",
        "new user: name=toor, UID=0, GID=0, home=/root, shell=/bin/bash, from=/dev/pts/0",
        {
            "action": "new_user",
            "user": "toor",
            "name": "toor",
            "UID": "0",
            "GID": "0",
            "home": "/root",
            "shell": "/bin/bash",
            "from": "/dev/pts/0",
        },
    ),
    ("usermod", "add 'eve' to group 'sudo'", {"action": "added_to_group", "user": "eve", "group": "sudo"}),
    (
        "kernel",
        "[12.3] [UFW BLOCK] IN=eth0 OUT= MAC= SRC=1.2.3.4 DST=5.6.7.8 DF PROTO=TCP SPT=1 DPT=22 SYN",
        {
            "uptime": "12.3",
            "log_prefix": "[UFW BLOCK]",
            "IN": "eth0",
            "SRC": "1.2.3.4",
            "DST": "5.6.7.8",
            "PROTO": "TCP",
            "SPT": "1",
            "DPT": "22",
        },
    ),
    (
        "named",
        "queries: info: client @0x7f 1.2.3.4#53 (a.b): view x: query: a.b IN TXT +E(0)K (10.0.0.2)",
        {
            "action": "query",
            "src_ip": "1.2.3.4",
            "src_port": "53",
            "query": "a.b",
            "query_class": "IN",
            "record_type": "TXT",
            "flags": "+E(0)K",
            "dst_ip": "10.0.0.2",
        },
    ),
    (
        "dnsmasq",
        "query[A] a.b from 10.0.0.5",
        {"action": "query", "record_type": "A", "query": "a.b", "src_ip": "10.0.0.5"},
    ),
    ("dnsmasq", "reply a.b is 1.2.3.4", {"action": "answer", "query": "a.b", "answer": "1.2.3.4"}),
    (
        "ftpd",
        "connection from 1.2.3.4 (a.b) at Sat Jul  9 12:16:49 2005 ",
        {"action": "connection", "src_ip": "1.2.3.4", "src_host": "a.b"},
    ),
    ("vsftpd", '[eve] FAIL LOGIN: Client "1.2.3.4"', {"action": "FAIL LOGIN", "user": "eve", "src_ip": "1.2.3.4"}),
    (
        "pkexec",
        "eve: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/] [COMMAND=/bin/sh]",
        {"user": "eve", "USER": "root", "TTY": "/dev/pts/0", "CWD": "/", "COMMAND": "/bin/sh"},
    ),
    (
        "login",
        "FAILED LOGIN 1 FROM 1.2.3.4 FOR eve, Authentication failure",
        {"action": "failed", "src_ip": "1.2.3.4", "user": "eve"},
    ),
]


@pytest.mark.parametrize(("program", "message", "fields"), CASES)
def test_messages_of_known_programs_are_taken_apart(program: str, message: str, fields: Record) -> None:
    record: Record = {}
    assert add_program_fields(program, message, record)
    assert record == fields


def test_a_message_that_is_not_known_adds_nothing() -> None:
    record: Record = {}
    assert add_program_fields("/usr/sbin/sshd", "something new", record)
    assert not add_program_fields("unheard-of", "Failed password for root from 1.2.3.4 port 5 ssh2", record)
    assert record == {}
