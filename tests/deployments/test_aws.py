"""The CloudFormation templates: lint, least privilege, and what comes of them on moto.

Which rights an action can be narrowed to is AWS' own service authorization reference, as cfn-lint ships it.
"""

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import boto3
import dask_cloudprovider.aws.ecs
import prefect_aws.observers.ecs
import prefect_aws.workers.ecs_worker
import pytest
from cfnlint.decode import decode
from moto import mock_aws

# moto leaves out bucket and queue policies, secrets, rules for what goes out and more: these are read in the text.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deployments" / "aws" / "churn.yaml"
NETWORK = ROOT / "deployments" / "aws" / "network.yaml"
REFERENCE = json.loads(files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text())

# On any resource although AWS knows resources for them, and why.
WITHOUT_RESOURCE = {
    "ecs:ListTasks": "its resource is a container instance, which a task on Fargate has none of; a condition names the cluster",
}
# Roles whose service does not say for certain on whose behalf it comes; nobody outside the account can pass them.
GUARDED_BY_PASSING = {"FlowExecutionRole", "DaskExecutionRole", "RedshiftRole"}
# What the program calls only where the settings name no ECS cluster, and so not here.
ONLY_WITHOUT_A_CLUSTER = {"ecs:CreateCluster", "ecs:DeleteCluster", "ecs:ListClusters"}

VALUES = {
    "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", "AWS::StackName": "churn",
    "LakePrefix": "lake", "RedshiftCluster": "audience", "RedshiftUser": "churn", "RedshiftDatabase": "bbc",
    "RedshiftWorkgroupArn": "arn:aws:redshift-serverless:eu-west-1:123456789012:workgroup/0a1b",
    "LakeKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/0a1b", "GitHubRepository": "acme/churn",
    "GitHubEnvironment": "production", "Cluster": "churn",
    "Lake.Arn": "arn:aws:s3:::churn-lake", "Images.Arn": "arn:aws:ecr:eu-west-1:123456789012:repository/churn",
    "Cluster.Arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/churn",
    "TaskEvents.Arn": "arn:aws:sqs:eu-west-1:123456789012:churn-events",
}  # fmt: skip
for _name in ("Flow", "Dask", "PrefectWorker"):
    VALUES[f"{_name}Logs.Arn"] = f"arn:aws:logs:eu-west-1:123456789012:log-group:/churn/{_name}:*"
for _name in ("PrefectApiKey", "RedshiftLogin", "DaskTls"):
    VALUES[_name] = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{_name}-a1b2c3"
for _name in ("Scheduler", "Worker", "Flow", "FlowExecution", "DaskExecution"):
    VALUES[f"{_name}Role.Arn"] = f"arn:aws:iam::123456789012:role/{_name}Role"


def read(path):
    template, faults = decode(str(path))
    assert not faults
    return template


@pytest.fixture(scope="module")
def template():
    return read(TEMPLATE)


def resolved(value):
    """A text of the template, with what it refers to put in."""
    if isinstance(value, str):
        return value
    ((function, given),) = value.items()
    if function == "Ref":
        return VALUES[given]
    if function == "Fn::GetAtt":
        return VALUES[given if isinstance(given, str) else ".".join(given)]
    assert function == "Fn::Sub"
    return re.sub(r"\$\{([^}]+)\}", lambda found: VALUES[found[1]], given)


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(template) -> Iterator[tuple[str, dict]]:
    """What roles are allowed: the role's name in the template, and a statement."""
    for name, resource in template["Resources"].items():
        given = resource["Properties"]
        if resource["Type"] == "AWS::IAM::Role":
            assert "ManagedPolicyArns" not in given, "AWS' own policies are wide"
            for policy in given.get("Policies", []):
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield name, statement
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            for statement in given["PolicyDocument"]["Statement"]:
                for role in given["Roles"]:
                    yield role["Ref"], statement
        assert resource["Type"] not in ("AWS::IAM::Policy", "AWS::IAM::RolePolicy"), "it would go unseen here"


def allowed(template, role, conditional=True):
    return {
        action for name, each in statements(template) if name == role for action in listed(each["Action"])
    }


def reference(action):
    """The ARNs that an action can be narrowed to, as patterns."""
    service, _, name = action.partition(":")
    known = {kind.lower(): each["ARNFormats"] for kind, each in REFERENCE[service]["Resources"].items()}
    kinds = REFERENCE[service]["Actions"][name.lower()].get("Resources", [])
    return [pattern for kind in kinds for pattern in known[kind.lower()]]


@pytest.mark.process
@pytest.mark.parametrize("path", [TEMPLATE, NETWORK], ids=lambda path: path.stem)
def test_the_template_has_no_lint(path):
    # Each region has its own rules; one of each kind.
    command = [Path(sys.executable).parent / "cfn-lint", "--regions", "eu-west-1", "us-east-1", "--", path]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_no_action_is_a_pattern(template):
    assert not [each["Action"] for _, each in statements(template) if "*" in str(each["Action"])]
    assert all(each["Effect"] == "Allow" for _, each in statements(template))


def test_any_resource_only_where_aws_knows_none_to_name(template):
    wide = {
        action
        for _, each in statements(template)
        if each["Resource"] == "*"
        for action in listed(each["Action"])
        if reference(action)
    }
    assert wide == set(WITHOUT_RESOURCE)
    for _, each in statements(template):
        if set(listed(each["Action"])) & set(WITHOUT_RESOURCE):
            assert resolved(each["Condition"]["ArnEquals"]["ecs:cluster"]) == VALUES["Cluster.Arn"]


def test_each_resource_is_one_that_the_action_is_about(template):
    for name, each in statements(template):
        for action in listed(each["Action"]):
            about = [re.sub(r"\$\{\w+\}", "[^:]*", pattern) for pattern in reference(action)]
            for resource in map(resolved, listed(each["Resource"])):
                if resource == "*":
                    continue
                assert any(re.fullmatch(pattern, resource) for pattern in about), (name, action, resource)


def test_a_resource_that_is_a_pattern_is_below_something_of_ours(template):
    patterns = {
        resource
        for _, each in statements(template)
        for resource in map(resolved, listed(each["Resource"]))
        if "*" in resource and resource != "*"
    }
    ours = r"churn-lake/lake/\*|task-definition/churn-[a-z-]*\*|task/churn/\*|log-group:/churn/\w+:\*"
    assert not [each for each in patterns if not re.search(f"[:/]({ours})$", each)]
    assert len(patterns) >= 4


def test_who_may_become_a_role_is_narrowed(template):
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        for each in resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            conditions = each.get("Condition", {}).get("StringEquals", {})
            if "Federated" in each["Principal"]:
                subject = resolved(conditions["token.actions.githubusercontent.com:sub"])
                assert subject in (
                    "repo:acme/churn:ref:refs/heads/main",
                    "repo:acme/churn:environment:production",
                )
                assert conditions["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
            elif name not in GUARDED_BY_PASSING:
                assert conditions["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}, name


def test_roles_can_be_passed_to_tasks_only_and_not_further_than_needed(template):
    passed = {
        name: {resolved(role).rpartition("/")[2] for role in each["Resource"]}
        for name, each in statements(template)
        if each["Action"] == "iam:PassRole"
        and each["Condition"]["StringEquals"]["iam:PassedToService"] == "ecs-tasks.amazonaws.com"
    }
    assert passed == {
        "FlowRole": {"SchedulerRole", "WorkerRole", "DaskExecutionRole"},
        "PrefectWorkerRole": {"FlowRole", "FlowExecutionRole"},
    }
    assert sum(each["Action"] == "iam:PassRole" for _, each in statements(template)) == len(passed)


def test_the_scheduler_can_do_nothing_and_a_worker_nothing_but_read_and_write(template):
    assert allowed(template, "SchedulerRole") == set()
    assert allowed(template, "WorkerRole") == {
        "s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject", "kms:Decrypt", "kms:GenerateDataKey",
    }  # fmt: skip


def calls(source, clients):
    """Every operation that source text asks of AWS: ``ecs.run_task(...)``, ``ecs.get_paginator("list_tasks")``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=client), attr="get_paginator"),
                args=[ast.Constant(value=operation), *_],
            ) if client in clients:
                found.add((clients[client], operation))
            case ast.Attribute(value=ast.Name(id=client) | ast.Attribute(attr=client), attr=operation) if (
                client in clients
            ):
                found.add((clients[client], operation))
    services = {service: boto3.client(service, region_name="eu-west-1") for service, _ in found}
    return {
        f"{service}:{services[service].meta.method_to_api_mapping[operation]}"
        for service, operation in found
        if operation in services[service].meta.method_to_api_mapping
    }


def test_a_flow_run_is_allowed_what_it_calls_for_its_cluster(template):
    clients = {"ecs": "ecs", "ec2": "ec2", "logs": "logs"}
    library = inspect.getsource(dask_cloudprovider.aws.ecs.Task)
    wanted = calls(library, clients) - {"logs:GetLogEvents"}  # Cluster.logs, which is not called
    assert "ec2:DescribeNetworkInterfaces" in wanted
    for path in (ROOT / "churn").rglob("*.py"):
        wanted |= calls(path.read_text(), clients)
    assert wanted - ONLY_WITHOUT_A_CLUSTER <= allowed(template, "FlowRole")


def test_a_flow_run_is_allowed_what_it_calls_for_its_lake(template):
    source = (ROOT / "churn" / "lake" / "staging_s3.py").read_text()
    names = set(re.findall(r'call_s3[(,]\s*"(\w+)"', source))
    actions = {
        "put_object": "s3:PutObject", "delete_objects": "s3:DeleteObject",
        "list_multipart_uploads": "s3:ListBucketMultipartUploads", "abort_multipart_upload": "s3:AbortMultipartUpload",
    }  # fmt: skip
    assert names == set(actions)
    assert set(actions.values()) | {"s3:GetObject", "s3:ListBucket"} <= allowed(template, "FlowRole")


def test_the_prefect_worker_is_allowed_what_it_calls(template):
    clients = {"ecs_client": "ecs", "ec2_client": "ec2", "sqs_client": "sqs", "logs_client": "logs"}
    wanted = set()
    for module in (prefect_aws.workers.ecs_worker, prefect_aws.observers.ecs):
        wanted |= calls(inspect.getsource(module), clients)
    assert {"ecs:RunTask", "sqs:ReceiveMessage", "logs:GetLogEvents"} <= wanted
    assert wanted <= allowed(template, "PrefectWorkerRole")


def test_only_the_cluster_reaches_the_cluster(template):
    rules = template["Resources"]
    ingress = {
        name: each["Properties"]
        for name, each in rules.items()
        if each["Type"] == "AWS::EC2::SecurityGroupIngress" or "SecurityGroupIngress" in each["Properties"]
    }
    groups = {"FlowGroup", "DaskGroup"}
    for each in ingress.values():
        assert "CidrIp" not in each
        assert each["SourceSecurityGroupId"]["Fn::GetAtt"][0] in groups
    out = [
        rule
        for name in groups
        for rule in rules[name]["Properties"]["SecurityGroupEgress"]
    ] + [each["Properties"] for each in rules.values() if each["Type"] == "AWS::EC2::SecurityGroupEgress"]  # fmt: skip
    ports = [(rule["FromPort"], rule["ToPort"]) for rule in out if "CidrIp" in rule]
    to_anywhere = {tuple(port["Ref"] if isinstance(port, dict) else port for port in both) for both in ports}
    assert to_anywhere == {(443, 443), ("PrefectPort", "PrefectPort")}
    to_the_warehouse = [
        rule for rule in out if rule.get("DestinationSecurityGroupId") == {"Ref": "WarehouseSecurityGroupId"}
    ]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in to_the_warehouse] == [(5439, 5439)]


def test_images_are_scanned_as_they_come(template):
    assert template["Resources"]["Images"]["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_workers_may_run_on_spot_capacity(template):
    cluster = template["Resources"]["Cluster"]["Properties"]
    assert cluster["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]


def test_no_secret_has_a_value(template):
    secrets = [
        each for each in template["Resources"].values() if each["Type"] == "AWS::SecretsManager::Secret"
    ]
    assert len(secrets) == 3
    assert not [
        each for each in secrets if {"SecretString", "GenerateSecretString"} & set(each["Properties"])
    ]


def test_the_lake_is_nobody_elses_and_keeps_nothing_for_ever(template):
    lake = template["Resources"]["Lake"]
    assert lake["DeletionPolicy"] == lake["UpdateReplacePolicy"] == "Retain"
    given = lake["Properties"]
    assert given["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    assert given["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert "VersioningConfiguration" not in given, "what is erased of a person must be gone"
    parts, runs = given["LifecycleConfiguration"]["Rules"]
    assert parts["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    assert (resolved(runs["Prefix"]), runs["ExpirationInDays"]) == ("lake/runs/", {"Ref": "LakeDays"})
    assert {parts["Status"], runs["Status"]} == {"Enabled"}


def test_the_lake_is_spoken_to_by_tls_only(template):
    policy = template["Resources"]["LakePolicy"]["Properties"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Principal"]) == ("Deny", "s3:*", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(statement["Resource"]) == 2


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="eu-west-1")


def outputs(aws, name, path, **parameters):
    """Make a stack, and return what it puts out."""
    cloudformation = aws("cloudformation")
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(
        StackName=name, TemplateBody=path.read_text(), Parameters=given, Capabilities=["CAPABILITY_IAM"]
    )
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


@pytest.fixture
def network(aws):
    return outputs(aws, "churn-network", NETWORK)


def test_the_network_reaches_the_internet_and_s3_from_private_subnets(aws, network):
    ec2 = aws("ec2")
    subnets = network["SubnetIds"].split(",")
    assert len({each["AvailabilityZone"] for each in ec2.describe_subnets(SubnetIds=subnets)["Subnets"]}) == 2
    ways_out = [
        route.get("NatGatewayId") or route["GatewayId"]
        for table in ec2.describe_route_tables()["RouteTables"]
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    assert sorted(each[:4] for each in ways_out) == ["igw-", "nat-"]
    rules = read(NETWORK)["Resources"]  # moto does not join tables to subnets
    joined = {
        each["Properties"]["SubnetId"]["Ref"]: each["Properties"]["RouteTableId"]["Ref"]
        for each in rules.values()
        if each["Type"] == "AWS::EC2::SubnetRouteTableAssociation"
    }
    assert joined == {
        "PublicSubnet": "PublicRoutes", "PrivateSubnetA": "PrivateRoutes", "PrivateSubnetB": "PrivateRoutes",
    }  # fmt: skip
    (endpoint,) = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert endpoint["ServiceName"] == "com.amazonaws.eu-west-1.s3"


def test_the_first_stack_has_everything_but_a_worker(aws, network):
    made = outputs(aws, "churn", TEMPLATE, **{**network, "LakeDays": "400", "LogDays": "30"})
    assert not aws("ecs").list_services(cluster=made["ClusterArn"])["serviceArns"]

    bucket = made["LakeUrl"].removeprefix("s3://").partition("/")[0]
    (rule,) = aws("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    groups = {
        each["logGroupName"]: each.get("retentionInDays")
        for each in aws("logs").describe_log_groups()["logGroups"]
    }
    assert groups == {"/churn/flow": 30, "/churn/dask": 30, "/churn/prefect-worker": 30}
    (images,) = aws("ecr").describe_repositories()["repositories"]
    assert images["repositoryUri"] == made["ImageRepository"]
    assert images["imageTagMutability"] == "IMMUTABLE"

    asked = [made["DaskSecurityGroup"], made["FlowSecurityGroup"]]
    found = {
        each["GroupId"]: each["IpPermissions"]
        for each in aws("ec2").describe_security_groups(GroupIds=asked)["SecurityGroups"]
    }
    assert found[made["FlowSecurityGroup"]] == []
    let_in = {
        (rule["FromPort"], pair["GroupId"])
        for rule in found[made["DaskSecurityGroup"]]
        for pair in rule["UserIdGroupPairs"]
    }
    assert let_in == {(8786, made["FlowSecurityGroup"]), (1024, made["DaskSecurityGroup"])}
    assert not any(rule["IpRanges"] for rule in found[made["DaskSecurityGroup"]])


def test_the_second_stack_runs_a_worker_and_knows_github_and_the_warehouse(aws, network):
    warehouse = aws("ec2").create_security_group(GroupName="w", Description="w", VpcId=network["VpcId"])[
        "GroupId"
    ]
    given = {
        "WarehouseSecurityGroupId": warehouse, "PrefectApiUrl": "https://prefect.example.org/api",
        "ImageDigest": f"sha256:{'0' * 64}", "GitHubRepository": "acme/churn",
        "RedshiftWorkgroupArn": VALUES["RedshiftWorkgroupArn"], "LakeKeyArn": VALUES["LakeKeyArn"],
    }  # fmt: skip
    made = outputs(aws, "churn", TEMPLATE, **network, **given)

    ecs = aws("ecs")
    (service,) = ecs.list_services(cluster=made["ClusterArn"])["serviceArns"]
    (described,) = ecs.describe_services(cluster=made["ClusterArn"], services=[service])["services"]
    definition = ecs.describe_task_definition(taskDefinition=described["taskDefinition"])["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert container["image"] == f"{made['ImageRepository']}@{given['ImageDigest']}"
    assert container["command"] == ["prefect", "worker", "start", "--type", "ecs", "--pool", "churn-ecs"]
    variables = {each["name"]: each["value"] for each in container["environment"]}
    queue = variables["PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME"]
    assert aws("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    assert [each["name"] for each in container["secrets"]] == ["PREFECT_API_KEY"]

    (rule,) = aws("events").list_rules()["Rules"]
    assert json.loads(rule["EventPattern"])["detail"]["clusterArn"] == [made["ClusterArn"]]

    bucket = made["LakeUrl"].removeprefix("s3://").partition("/")[0]
    (encryption,) = aws("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"][
        "Rules"
    ]
    assert encryption["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == given["LakeKeyArn"]

    iam = aws("iam")
    flow = made["FlowRoleArn"].rpartition("/")[2]
    attached = iam.list_attached_role_policies(RoleName=flow)["AttachedPolicies"]
    assert len(attached) == 3  # the lake's list, its key, the workgroup
    github = iam.get_role(RoleName=made["GitHubImageRoleArn"].rpartition("/")[2])["Role"][
        "AssumeRolePolicyDocument"
    ]
    subject = github["Statement"][0]["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"]
    assert subject == "repo:acme/churn:ref:refs/heads/main"
    (let_in,) = aws("ec2").describe_security_groups(GroupIds=[warehouse])["SecurityGroups"][0][
        "IpPermissions"
    ]
    assert [pair["GroupId"] for pair in let_in["UserIdGroupPairs"]] == [made["FlowSecurityGroup"]]


def test_a_prefect_server_without_a_key_and_with_a_port_of_its_own(aws, network):
    given = {
        "ImageDigest": f"sha256:{'0' * 64}", "PrefectApiUrl": "https://prefect.example.org:4200/api",
        "PrefectAuth": "none", "PrefectPort": "4200",
    }  # fmt: skip
    outputs(aws, "churn", TEMPLATE, **network, **given)
    definition = aws("ecs").describe_task_definition(taskDefinition="churn-prefect-worker")["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert not container.get("secrets")
    # moto leaves rules for what goes out away.
    way = read(TEMPLATE)["Resources"]["FlowToPrefect"]
    assert (way["Condition"], way["Properties"]["GroupId"]["Fn::GetAtt"][0]) == (
        "HasOwnPrefectPort",
        "FlowGroup",
    )
