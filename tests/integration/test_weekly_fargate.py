"""The weekly job as it runs in AWS: started here, scored by Fargate tasks, with the lake on S3."""

import json
import sys

import boto3
import pytest

from tests.integration.test_faults import PRODUCTS, leaving_people
from tests.support.certificates import issue
from tests.support.data_folders import write_table
from tests.support.fargate import fargate
from tests.support.lakes import own_settings
from tests.support.s3 import BUCKET, REGION, S3Server
from tests.support.weekly_jobs import Job, runs_on_s3, table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs all of the loopback network")
_settings = pytest.fixture(autouse=True)(own_settings)


def test_a_run_on_fargate_writes_what_a_run_on_another_cluster_writes(tmp_path, monkeypatch):
    data = tmp_path / "data"
    write_table(data, "events.activity", leaving_people())
    for name in ("tasks", "runs"):
        (tmp_path / name).mkdir()
    with fargate(tmp_path / "tasks", monkeypatch) as aws:
        s3 = boto3.client("s3", endpoint_url=aws.endpoint, region_name=REGION)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        settings = aws.settings(2, tls_secret=aws.keep_secret(issue()), spot=True)
        given = settings.fargate.model_dump(mode="json", exclude_none=True, exclude={"environment", "tags"})
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]  # which TOML reads too
        (data / "churn.toml").write_text("\n".join([PRODUCTS, "[cluster.fargate]", *lines, ""]), "utf-8")
        on_fargate = {
            "CHURN_CLUSTER__KIND": "fargate", "CHURN_CLUSTER__ADDRESS": "", "CHURN_CLUSTER__WORKERS": "2",
            "CHURN_PARTITION_ROWS": "20",
        }  # fmt: skip
        with runs_on_s3(tmp_path / "runs", S3Server(aws.endpoint)) as runs:
            jobs = [
                Job(runs, data, tmp_path / name, f"s3://{BUCKET}/{name}", variables=variables)
                for name, variables in (("here", {"CHURN_PARTITION_ROWS": "20"}), ("there", on_fargate))
            ]
            for job in jobs:
                ended = job()
                assert ended.code == 0, ended.err
        here, there = (job.run() for job in jobs)
        assert len([name for name in there.manifest.files if name.startswith("scores/")]) > 2
        for dataset in ("features", "scores", "shap", "reasons", "effects"):
            assert table(there, dataset).equals(table(here, dataset)), dataset
        assert jobs[0].published() == jobs[1].published()

        assert [task.who for task in aws.tasks] == ["scheduler", "worker", "worker"]
        for task in aws.tasks:
            tags = {tag["key"]: tag["value"] for tag in task.tags}
            assert (tags["churn:run"], tags["churn:product"]) == (there.manifest.run_id, "food")
            assert task.status == "STOPPED"
        assert aws.definitions() == []
