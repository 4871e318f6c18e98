"""A run's model as MLflow knows models: it can be loaded and asked for probabilities, without pickle.

MLflow calls ``_load_pyfunc`` of this module, which its ``MLmodel`` file names, with the folder of the model.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn.explain.contributions import contributions
from churn.model.artifact import Model, ModelCard
from churn.model.encoding import sigmoid

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE_FILE = "input_example.json"
MODEL_FILE = "MLmodel"


class ScoringModel:
    """A model that takes rows of features, as MLflow calls it."""

    def __init__(self, model: Model) -> None:
        """Keep the model."""
        self.model = model

    def predict(self, rows: "pd.DataFrame", params: dict[str, Any] | None = None) -> NDArray[np.float64]:
        """Return the probability of churn, (rows,) float64: that of the published scores, to the last bit.

        Example:
            >>> model = mlflow.pyfunc.load_model("models:/churn-iplayer@champion")
            >>> model.predict(run.features(users).to_pandas())

        Args:
            rows: the model's features by name; others are ignored. Missing values are missing.
            params: none are known.

        Raises:
            RunError: a feature is missing, of another type, or infinite.
        """
        table = pa.Table.from_pandas(rows[list(self.model.card.features)], preserve_index=False)
        return sigmoid(contributions(self.model, self.model.schema.encode(table)).margin)


def _load_pyfunc(path: str) -> ScoringModel:
    return ScoringModel(Model.load(path))


def describe_model(folder: Path, mlflow_run_id: str) -> dict[str, str]:
    """Return the texts of the files that make a model's folder one of MLflow's, by name.

    The input example is made up: it holds no user.

    Args:
        folder: the model's folder, with its card.
        mlflow_run_id: MLflow's id of the run.
    """
    from mlflow.models import Model as MlflowModel
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, Schema

    card = ModelCard.model_validate(json.loads((folder / "model.json").read_text("utf-8"))["card"])
    columns = [
        ColSpec("string" if name in card.categories else "double", name, required=False)
        for name in card.features
    ]
    described = MlflowModel(
        artifact_path=folder.name,
        run_id=mlflow_run_id,
        signature=ModelSignature(Schema(columns), Schema([ColSpec("double", "probability")])),
        saved_input_example_info={
            "artifact_path": EXAMPLE_FILE,
            "type": "dataframe",
            "pandas_orient": "split",
        },
        metadata={"product": card.product, "model_version": card.model_version, "churn": card.code_version},
    )
    described.add_flavor(
        "python_function",
        loader_module=__name__,
        python_version=".".join(map(str, sys.version_info[:3])),
    )
    values = [
        next(iter(card.categories[name]), None) if name in card.categories else 0.0 for name in card.features
    ]
    example = {"columns": list(card.features), "data": [values]}
    return {MODEL_FILE: described.to_yaml(), EXAMPLE_FILE: json.dumps(example)}
