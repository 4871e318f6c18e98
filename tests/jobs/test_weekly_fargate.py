"""The weekly job as it runs in AWS: started here, scored by Fargate tasks, with the lake on S3."""

import json
import shutil
import sys

import pytest

from tests.stand_ins.certificates import issue
from tests.stand_ins.fargate import fargate
from tests.support.lakes import own_settings
from tests.support.weekly_jobs import Job, table

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs all of the loopback network"),
    pytest.mark.server,
    pytest.mark.process,
    pytest.mark.slow,
]
_settings = pytest.fixture(autouse=True)(own_settings)


def test_a_run_on_fargate_writes_what_a_run_on_another_cluster_writes(
    runs, data, bucket, tmp_path, monkeypatch
):
    with fargate(tmp_path / "tasks", monkeypatch, bucket.server) as aws:
        settings = aws.settings(2, tls_secret=aws.keep_secret(issue()), spot=True)
        given = settings.fargate.model_dump(mode="json", exclude_none=True, exclude={"environment", "tags"})
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]  # which TOML reads too
        copied = shutil.copytree(data, tmp_path / "data")
        with (copied / "churn.toml").open("a") as file:
            file.write("\n".join(["", "[cluster.fargate]", *lines, ""]))
        small = {"CHURN_PARTITION_ROWS": "20"}
        on_fargate = {
            "CHURN_CLUSTER__KIND": "fargate", "CHURN_CLUSTER__ADDRESS": "", "CHURN_CLUSTER__WORKERS": "2",
        }  # fmt: skip
        jobs = [
            Job(runs, copied, tmp_path / name, f"{bucket.url}/{name}", variables=variables)
            for name, variables in (("here", small), ("there", small | on_fargate))
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
