"""Automations on the Prefect server: notify of failed, late and crashed runs; crash silent ones."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click
from apprise import Apprise
from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

from churn.core.errors import ChurnError, UsageError
from flows.run_names import PART_TAG

BLOCK = "churn-alerts"
TAG = "churn"  # of every deployment in deployments/prefect.yaml
_ENDS = {f"prefect.flow-run.{end}" for end in ("Completed", "Failed", "Cancelled", "Crashed")}
_BODY = """{{ flow.name }} / {{ flow_run.name }}: {{ flow_run.state.name }}
{{ flow_run.state.message }}
{{ flow_run|ui_url }}"""


def run_alerts(*, url_file: Path, silent_after: int) -> None:
    """Save the address, send a test message, and set up the automations; safe to repeat.

    Raises:
        UsageError: no Prefect server is set up, or the address cannot be written to.
        ChurnError: the address did not take the message.
    """
    if not get_current_settings().api.url:
        raise UsageError(
            "no Prefect server is chosen: set PREFECT_API_URL, or log in with `prefect cloud login`"
        )
    try:
        with click.open_file(str(url_file), encoding="utf-8") as file:
            url = file.read().strip()
    except OSError as error:
        raise UsageError(f"{url_file} cannot be read: {error.strerror}") from error
    if not url or not Apprise().add(url):  # the address is a secret: never shown
        raise UsageError(
            f"{url_file} does not hold an address that can be written to: give Slack's incoming webhook "
            "(https://hooks.slack.com/services/...), or one that Apprise knows (mailtos://..., json://...)"
        )
    block = SlackWebhook(url=url, notify_type="failure")  # takes any Apprise address
    try:
        with block.raise_on_failure():
            block.notify(
                "churn tells here when a run fails, crashes or does not start.", "churn: alerts are set up"
            )
    except NotificationError as error:
        raise ChurnError(
            "the address did not take a message: is it right, and reachable from here?"
        ) from error
    saved = block.save(BLOCK, overwrite=True)
    for automation in automations(saved, timedelta(seconds=silent_after)):
        click.echo(f"{_upsert(automation)}: {automation.name}")


def automations(block: object, silent_after: timedelta) -> list[AutomationCore]:
    """Return the automations for runs of this program's deployments.

    Args:
        block: id of the notification block.
        silent_after: how long a running run may send no heartbeat.
    """
    return [
        AutomationCore(
            name="churn: tell of runs that failed",
            description="A run failed or crashed.",
            trigger=_trigger(expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}),
            actions=[_notify(block, "churn: {{ flow_run.name }} {{ flow_run.state.name }}")],
        ),
        AutomationCore(
            name="churn: tell of runs that do not start",
            description="A run has been late for an hour: no worker takes it, or another run does not end.",
            trigger=_trigger(
                after={"prefect.flow-run.Late"},
                expect={"prefect.flow-run.Pending", "prefect.flow-run.Running", *_ENDS},
                posture=Posture.Proactive,
                within=timedelta(hours=1),
            ),
            actions=[_notify(block, "churn: {{ flow_run.name }} does not start")],
        ),
        AutomationCore(
            name="churn: crash runs that went silent",
            description="A run's process was killed, or its machine is gone: its heartbeats stopped.",
            trigger=_trigger(
                after={"prefect.flow-run.heartbeat"},
                # A run that awaits a retry sends no heartbeats.
                expect={"prefect.flow-run.heartbeat", "prefect.flow-run.AwaitingRetry", *_ENDS},
                posture=Posture.Proactive,
                within=silent_after,
                tags=(TAG, PART_TAG),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    name="Crashed",
                    message=f"no sign of life for {silent_after.total_seconds():.0f} s: the process was "
                    "killed, or its machine is gone. Nothing half-written is to be seen; run it again",
                )
            ],
        ),
    ]


def _trigger(
    *, expect: set[str], posture: Posture = Posture.Reactive, tags: Sequence[str] = (TAG,), **more: object
) -> EventTrigger:
    return EventTrigger.model_validate(
        {
            "expect": expect,
            "match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            "match_related": ResourceSpecification(
                {
                    "prefect.resource.role": "tag",
                    "prefect.resource.id": [f"prefect.tag.{tag}" for tag in tags],
                }
            ),
            "for_each": {"prefect.resource.id"},
            "posture": posture,
            "threshold": 1,
            **more,
        }
    )


def _notify(block: object, subject: str) -> SendNotification:
    return SendNotification.model_validate({"block_document_id": block, "subject": subject, "body": _BODY})


def _upsert(automation: AutomationCore) -> str:
    """Create an automation, or update those of its name; return which was done."""
    with get_client(sync_client=True) as client:
        existing = client.read_automations_by_name(automation.name)
        if not existing:
            client.create_automation(automation)
            return "made"
        for old in existing:
            client.update_automation(old.id, automation)
        return "renewed"
