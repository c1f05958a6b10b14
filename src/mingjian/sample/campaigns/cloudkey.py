"""A key of the cloud account is in the wrong hands.

Console without a second factor, trying what is allowed, more keys, more rights, the trail is stopped, data made public.
"""

from __future__ import annotations

from typing import Final

from mingjian.sample.campaigns.script import Script
from mingjian.sample.moments import SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.writers.cloud import REGION, Caller

ATTACKER: Final = "192.0.2.241"
_AGENT: Final = "aws-cli/2.17.4 Python/3.11.9 Linux/6.6.9 exe/x86_64"
_TRIED: Final = (
    ("iam", "ListUsers"),
    ("iam", "ListAccessKeys"),
    ("iam", "GetAccountAuthorizationDetails"),
    ("secretsmanager", "ListSecrets"),
    ("organizations", "DescribeOrganization"),
    ("ssm", "DescribeParameters"),
    ("lambda", "ListFunctions"),
    ("kms", "ListKeys"),
    ("guardduty", "ListDetectors"),
    ("rds", "DescribeDBSnapshots"),
    ("ecr", "DescribeRepositories"),
    ("sns", "ListTopics"),
)


def write(script: Script) -> None:
    """Write the campaign."""
    organisation = script.organisation
    login = script.victims()[2]
    console = Caller(name=login, address=ATTACKER, agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0")
    keyed = Caller(name=login, address=ATTACKER, agent=_AGENT, key="AKIAEXAMPLE000000007")
    account = organisation.cloud_account

    def sign_in(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is not None:
            scene.cloud.signed_in(time_us, console, mark, with_mfa=False)

    step = script.step("console", "T1078.004", "Somebody signs in without a second factor", "未经二次验证登录云控制台")
    script.plant(step, script.at(0.34, 3.1), None, login, sign_in, source=ATTACKER)

    def explore(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is None:
            return
        arn = f"arn:aws:iam::{account}:user/{login}"
        for place, (service, name) in enumerate(_TRIED):
            message = f"User: {arn} is not authorized to perform: {service}:{name}"
            scene.cloud.call(time_us + place * 2 * SECOND, keyed, service, name, mark, error=("AccessDenied", message))

    step = script.step("exploring", "T1580", "They try what the key may do", "试探密钥权限")
    script.plant(step, script.at(0.34, 3.3), None, login, explore, source=ATTACKER)

    def new_key(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is not None:
            made = {
                "accessKey": {"accessKeyId": "AKIAEXAMPLE000000099", "status": "Active", "userName": "backup-reader"}
            }
            asked = {"userName": "backup-reader"}
            scene.cloud.call(time_us, keyed, "iam", "CreateAccessKey", mark, asked=asked, answered=made)

    step = script.step("key", "T1098.001", "They make a key for another user", "为另一用户创建密钥")
    script.plant(step, script.at(0.34, 3.6), None, login, new_key, account="backup-reader")

    def rights(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is not None:
            asked = {"userName": "backup-reader", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}
            scene.cloud.call(time_us, keyed, "iam", "AttachUserPolicy", mark, asked=asked)

    step = script.step("rights", "T1098.003", "… and give it all rights", "……并授予全部权限")
    script.plant(step, script.at(0.34, 3.7), None, login, rights, account="backup-reader")

    def blind(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is not None:
            asked = {"name": f"arn:aws:cloudtrail:{REGION}:{account}:trail/organisation"}
            scene.cloud.call(time_us, keyed, "cloudtrail", "StopLogging", mark, asked=asked)

    step = script.step("blinding", "T1562.008", "They stop the audit trail", "停止审计跟踪")
    script.plant(step, script.at(0.34, 3.9), None, login, blind)

    def publish(scene: Scene, time_us: int, mark: int) -> None:
        if scene.cloud is not None:
            asked = {"bucketName": "customer-exports", "PublicAccessBlockConfiguration": {"BlockPublicPolicy": False}}
            scene.cloud.call(time_us, keyed, "s3", "DeleteBucketPublicAccessBlock", mark, asked=asked)

    step = script.step("publishing", "T1537", "A bucket is opened to everybody", "将存储桶公开")
    script.plant(step, script.at(0.34, 4.2), None, login, publish, bucket="customer-exports")
