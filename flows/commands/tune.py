"""What `churn tune` does."""

from datetime import date
from pathlib import Path

import click

from churn.config.load import load_settings
from flows.commands.run import chosen, new_table, terminal
from flows.console import show_progress
from flows.credentials import credentials

_SHOWN = 5


def run_tune(
    *,
    data: Path,
    out: Path,
    product: str,
    as_of: date,
    learner: str,
    minutes: float,
    trials: int,
    profile: str | None,
) -> None:
    """Tune a learner, log the trials to MLflow, and print what was found."""
    settings = load_settings(data, out, chosen(profile))
    settings.product(product).windows(as_of)  # refuse a wrong product or date before slow imports
    show_progress()
    from churn.jobs.tune import tune
    from churn.outputs.trials import log_trials

    with credentials(settings):
        found = tune(
            settings,
            product,
            as_of,
            learner=learner,
            minutes=minutes,
            trials=trials,
            tell=lambda sentence: click.echo(f"  {sentence}", err=True),
        )
        log_trials(
            settings.tracking_uri,
            str(settings.out.resolve() / "mlflow"),
            product=product,
            as_of=as_of,
            learner=learner,
            trials=found.trials,
            tried=found.tried,
            metrics={
                "default_log_loss": found.default_loss,
                "best_log_loss": found.best_loss,
                "holdout_difference": found.difference[0],
                "cpu_seconds": found.cpu,
            },
        )
    table = new_table("trial", "log loss", "size", "CPU s", "parameters")
    ranked = sorted(
        (trial for trial in found.trials if trial.loss is not None), key=lambda trial: trial.loss or 0.0
    )
    for trial in ranked[:_SHOWN]:
        params = ", ".join(f"{name} {value}" for name, value in found.tried[trial.number].items())
        figures = (f"{trial.number + 1}", f"{trial.loss:.5f}", f"{trial.size}", f"{trial.cpu:.1f}")
        table.add_row(*figures, params or "default")
    terminal().print(table)
    value, low, high = found.difference
    interval = "" if low is None else f" ({low:+.5f} to {high:+.5f})"
    if found.file is not None:
        click.echo(
            f"{product}: {value:+.5f}{interval} log loss against the default on later dates; "
            f"runs use {found.file}"
        )
    else:
        why = "no trial was better" if not interval else f"the best is {value:+.5f}{interval} on later dates"
        click.echo(f"{product}: the default stays: {why}")
