"""Log what tuning tried to MLflow: a run for the search, a nested run for each trial, and a plot."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date

from churn.config.training import ParamValue
from churn.outputs.mlflow_client import connect, mlflow_errors, one_at_a_time
from churn.outputs.tracking import experiment_of
from churn.scoring.trials import TrialResult

_WIDTH, _HEIGHT, _EDGE = 640, 240, 40


def log_trials(
    tracking_uri: str,
    artifact_root: str,
    *,
    product: str,
    as_of: date,
    learner: str,
    trials: Sequence[TrialResult],
    tried: Sequence[Mapping[str, ParamValue]],
    metrics: Mapping[str, float],
) -> str:
    """Log a search; return MLflow's id of its run.

    Args:
        tracking_uri: MLflow's tracking URI.
        artifact_root: folder or URI under which a new experiment stores its artefacts.
        product: the product's name; its experiment holds the runs.
        as_of: the date on which the search knew what it knew.
        learner: what was tuned.
        trials: all trials in order.
        tried: the parameters of each.
        metrics: figures of the whole search.

    Raises:
        RunError: MLflow or the disk refused.
    """
    from mlflow.entities import Metric, Param, RunTag

    identity = {"product": product, "as_of": as_of.isoformat(), "learner": learner}
    with ExitStack() as stack:
        stack.enter_context(mlflow_errors(tracking_uri, f"log the trials of {product}"))
        client = connect(tracking_uri)  # makes the file that the next line locks
        stack.enter_context(one_at_a_time(tracking_uri))
        experiment = experiment_of(client, tracking_uri, product, artifact_root)
        parent = client.create_run(experiment, tags=identity, run_name=f"tune {learner} {as_of}").info.run_id
        client.log_batch(parent, metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()])
        for result, params in zip(trials, tried, strict=True):
            run = client.create_run(
                experiment,
                tags={**identity, "mlflow.parentRunId": parent},
                run_name=f"trial {result.number + 1}",
            ).info.run_id
            figures = {"cpu_seconds": result.cpu, "size": float(result.size)}
            if result.loss is not None:
                figures["log_loss"] = result.loss
            client.log_batch(
                run,
                metrics=[Metric(name, value, 0, 0) for name, value in figures.items()],
                params=[Param(name, str(value)) for name, value in params.items()],
                tags=[RunTag("outcome", result.failure or "fitted")],
            )
            client.set_terminated(run, status="FINISHED" if result.loss is not None else "KILLED")
        client.log_text(parent, history_plot([result.loss for result in trials]), "history.svg")
        client.set_terminated(parent, status="FINISHED")
    return str(parent)


def history_plot(losses: Sequence[float | None]) -> str:
    """Return the trials' log losses, and the best so far, as an SVG picture.

    Args:
        losses: of each trial in order; None for those that were given up.
    """
    known = [loss for loss in losses if loss is not None]
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def x(index: int) -> float:
        return _EDGE + index / max(1, len(losses) - 1) * (_WIDTH - 2 * _EDGE)

    def y(loss: float) -> float:
        return _EDGE + (high - loss) / span * (_HEIGHT - 2 * _EDGE)

    best, line, dots = float("inf"), [], []
    for index, loss in enumerate(losses):
        if loss is not None:
            best = min(best, loss)
            dots.append(
                f'<circle cx="{x(index):.1f}" cy="{y(loss):.1f}" r="3"><title>{loss:.5f}</title></circle>'
            )
        line.append(f"{x(index):.1f},{y(best):.1f}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><text x="{_EDGE}" y="20">Log loss of {len(losses)} trials, and the best so far: '
        f'{low:.5f}</text><g fill="#8aa">{"".join(dots)}</g>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#b5532f" stroke-width="2"/>'
        f'<text x="4" y="{y(high) + 4:.0f}">{high:.3f}</text>'
        f'<text x="4" y="{y(low) + 4:.0f}">{low:.3f}</text></svg>\n'
    )
