"""The cloud account: automation that reads all day, and a person or two who change something."""

from __future__ import annotations

from typing import Final

from mingjian.sample.activity.plan import Plan
from mingjian.sample.moments import HOUR, MINUTE
from mingjian.sample.scene import Scene
from mingjian.sample.words import BROWSERS
from mingjian.sample.writers.cloud import Caller

AUTOMATION: Final = Caller(
    name="deploy-runner", address="198.51.100.202", agent="Example-Provisioner/1.9 aws-sdk-go-v2/1.32", is_role=True,
    key="ASIAEXAMPLE000000001",
)  # fmt: skip
_READS: Final = (
    ("ec2", "DescribeInstances"),
    ("ec2", "DescribeSecurityGroups"),
    ("ec2", "DescribeVpcs"),
    ("ec2", "DescribeSubnets"),
    ("iam", "ListRoles"),
    ("iam", "GetRole"),
    ("s3", "GetBucketAcl"),
    ("s3", "GetBucketPolicy"),
    ("rds", "DescribeDBInstances"),
    ("kms", "Decrypt"),
    ("sts", "GetCallerIdentity"),
    ("logs", "DescribeLogGroups"),
    ("elasticloadbalancing", "DescribeTags"),
)


def plan_cloud(plan: Plan) -> None:
    """Let the cloud account live, if there is one."""
    scene = plan.scene
    if scene.cloud is None:
        return
    chance = scene.chance_of("cloud life")
    plan.repeat(chance, scene.start_us, scene.end_us, 4 * MINUTE, automate)
    plan.repeat(chance, scene.start_us + 8 * HOUR, scene.start_us + 18 * HOUR, 3 * HOUR, sign_in)


def automate(scene: Scene, time_us: int) -> None:
    """The provisioner compares what is there with what should be."""
    assert scene.cloud is not None
    chance = scene.chance
    for place in range(2 + chance.below(6)):
        service, name = chance.pick(_READS)
        scene.cloud.call(time_us + place * chance.between(50_000, 600_000), AUTOMATION, service, name, 0)


def sign_in(scene: Scene, time_us: int) -> None:
    """An administrator signs in with a second factor and looks around."""
    assert scene.cloud is not None
    person = scene.organisation.people[0]
    caller = Caller(name=person.login, address=scene.organisation.public_address, agent=BROWSERS[0])
    scene.cloud.signed_in(time_us, caller, 0, with_mfa=True)
    for place in range(6):
        service, name = scene.chance.pick(_READS)
        scene.cloud.call(time_us + (1 + place) * MINUTE, caller, service, name, 0)
