"""Everyday life: what happens in an organisation on any day, attack or no attack.

In: a scene. Out: a plan of what happens when. Never: anything that is not everyday life.

``plan``        things to do, with their times
``people``      working hours, web, documents, shares, mail
``machines``    what computers do on their own, backups, patches, scans
``public``      visitors of the web site, mail from outside, partners, the background noise of the internet
``cloud``       automation and people in the cloud account
``remote``      people who come in through the VPN
``oddities``    what is in order and does not look like it
``hum``         what machines write about themselves, in bulk
``lookalikes``  all that is in order and behaves like an attack, by name
"""

from mingjian.sample.activity.cloud import plan_cloud
from mingjian.sample.activity.machines import plan_machines
from mingjian.sample.activity.oddities import plan_oddities
from mingjian.sample.activity.people import plan_people
from mingjian.sample.activity.plan import Plan
from mingjian.sample.activity.public import plan_public
from mingjian.sample.activity.remote import plan_remote
from mingjian.sample.scene import Scene


def everyday(scene: Scene) -> Plan:
    """Plan the everyday life of a scene."""
    plan = Plan(scene)
    for part in (plan_people, plan_machines, plan_public, plan_cloud, plan_remote, plan_oddities):
        part(plan)
    return plan
