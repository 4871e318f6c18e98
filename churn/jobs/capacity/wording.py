"""What a plan takes for granted, in sentences."""

from churn.jobs.capacity.model import SCHEDULER, CapacityPlan
from churn.jobs.capacity.prices import Prices
from churn.jobs.capacity.rates import Rates


def assumptions(plan: CapacityPlan, rates: Rates, prices: Prices) -> list[str]:
    """Return what must hold for the plan to come true, and what is left out of it."""
    place, job = prices.place, plan.job
    gib = rates.features * 4 * job.users / (1 << 30)
    said = [
        f"Each product scores {job.users:,} users on a cluster of its own, one product after the other: one "
        f"scheduler ({SCHEDULER.vcpus} vCPU, {SCHEDULER.gb} GB, never Spot), workers with one thread each.",
        "Left out: the SQL and the UNLOAD, training, loading the scores into the warehouse, MLflow, the "
        "container of the flow itself, network and logs. The cluster is asked for when scoring can begin; a "
        "flow that starts it before the SQL pays for the wait.",
        "Training is one task a product, in the flow's container. With the default sampling (cohort) it has "
        f"one row a user at most: their matrix alone is {gib:,.1f} GiB.",
        f"A Fargate vCPU is {place.vcpu_speed:g}x a core of the machine that this was measured on; a task "
        f"starts within {place.task_start_seconds:g} s, all side by side. No Spot task is taken back.",
        f"S3 answers in {1000 * place.request_seconds:g} ms and moves {place.megabytes_a_second:g} MB/s to "
        "and from each worker; a worker waits for both, one by one, and computes nothing meanwhile.",
        "Before it commits, the client reads all features once more, for their stamps, at that speed.",
        "The last partition makes all other workers wait, and all are billed until scoring ends.",
        f"Prices: {prices.region}, as of {prices.as_of}; a person keeps that file. Dollars on demand and on "
        "Spot are those of the clusters for all products; S3's requests and storage are listed beside them.",
    ]
    asked = plan.requests_a_second
    if asked.writes > place.writes_a_second or asked.reads > place.reads_a_second:
        said.append(
            f"S3 is asked for {asked.writes:,.0f} writes and {asked.reads:,.0f} reads a second, which is "
            "more than it gives one prefix before it has grown: expect answers of 503, which are repeated."
        )
    if rates.busy:
        said.append(
            f"The machine was busy while it was measured (load {rates.load_average:.1f} on {rates.cores} "
            "cores): CPU seconds come out high, and so does the plan. Measure again when it is idle."
        )
    return said
