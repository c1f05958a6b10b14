"""What CloudTrail writes. Source: AWS CloudTrail user guide, section CloudTrail record contents."""

from __future__ import annotations

from typing import Final

import msgspec

from mingjian.sample.book import Lane
from mingjian.sample.chance import Chance
from mingjian.sample.moments import iso_s
from mingjian.sample.templates import Plain, Template, hole, json_text, template_of

REGION: Final = "eu-central-1"
TEMPLATES_MAX: Final = 2_000
"""So many rendered calls with holes are kept; then all are forgotten. It only saves time."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and from where."""

    name: str
    address: str
    agent: str
    is_role: bool = False
    key: str = ""
    """Access key id; empty in the console."""


class CloudTrail:
    """The trail of one account."""

    def __init__(self, lane: Lane, chance: Chance, account: str) -> None:
        self._append = lane.append
        self.chance = chance
        self.account = account
        self._templates: dict[tuple[Caller, str, str, str, str, tuple[str, str] | None], Template] = {}

    def _identity(self, caller: Caller) -> Plain:
        account = self.account
        if caller.is_role:
            arn = f"arn:aws:iam::{account}:role/{caller.name}"
            return {
                "type": "AssumedRole",
                "principalId": f"AROAEXAMPLE{caller.name.upper()[:9]}:{caller.name}",
                "arn": f"arn:aws:sts::{account}:assumed-role/{caller.name}/{caller.name}",
                "accountId": account,
                "accessKeyId": caller.key,
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "principalId": f"AROAEXAMPLE{caller.name.upper()[:9]}",
                        "arn": arn,
                        "accountId": account,
                        "userName": caller.name,
                    },
                    "attributes": {"mfaAuthenticated": "false"},
                },
            }
        identity: dict[str, Plain] = {
            "type": "IAMUser",
            "principalId": f"AIDAEXAMPLE{caller.name.upper().replace('.', '')[:10]}",
            "arn": f"arn:aws:iam::{account}:user/{caller.name}",
            "accountId": account,
            "userName": caller.name,
        }
        return identity | ({"accessKeyId": caller.key} if caller.key else {})

    def call(
        self,
        time_us: int,
        caller: Caller,
        service: str,
        name: str,
        mark: int,
        *,
        asked: Plain = None,
        answered: Plain = None,
        error: tuple[str, str] | None = None,
    ) -> None:
        """A call of the API."""
        chance = self.chance
        key = (caller, service, name, repr(asked), repr(answered), error)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= TEMPLATES_MAX:
                self._templates.clear()
            template = self._templates[key] = self._call(caller, service, name, asked, answered, error)
        filled = (iso_s(time_us), chance.guid(), chance.guid())
        self._append((time_us, template.fill(filled), mark))

    def _call(
        self, caller: Caller, service: str, name: str, asked: Plain, answered: Plain, error: tuple[str, str] | None
    ) -> Template:
        record: dict[str, Plain] = {
            "eventVersion": "1.10",
            "userIdentity": self._identity(caller),
            "eventTime": hole(0),
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "awsRegion": "us-east-1" if service == "iam" else REGION,
            "sourceIPAddress": caller.address,
            "userAgent": caller.agent,
        }
        if error is not None:
            record |= {"errorCode": error[0], "errorMessage": error[1]}
        record |= {
            "requestParameters": asked,
            "responseElements": answered,
            "requestID": hole(1),
            "eventID": hole(2),
            "readOnly": name.startswith(("Describe", "List", "Get", "Head")),
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "eventCategory": "Management",
            "tlsDetails": {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": f"{service}.{REGION}.amazonaws.com",
            },
        }
        return template_of(json_text(record))

    def signed_in(self, time_us: int, caller: Caller, mark: int, *, with_mfa: bool) -> None:
        """Somebody signs in to the console."""
        record: dict[str, Plain] = {
            "eventVersion": "1.10",
            "userIdentity": self._identity(caller),
            "eventTime": iso_s(time_us),
            "eventSource": "signin.amazonaws.com",
            "eventName": "ConsoleLogin",
            "awsRegion": REGION,
            "sourceIPAddress": caller.address,
            "userAgent": caller.agent,
            "requestParameters": None,
            "responseElements": {"ConsoleLogin": "Success"},
            "additionalEventData": {
                "LoginTo": f"https://{REGION}.console.aws.amazon.com/console/home",
                "MobileVersion": "No",
                "MFAUsed": "Yes" if with_mfa else "No",
            },
            "eventID": self.chance.guid(),
            "readOnly": False,
            "eventType": "AwsConsoleSignIn",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "eventCategory": "Management",
        }
        self._append((time_us, json_text(record), mark))
