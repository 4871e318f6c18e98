"""A small neural network as a learner: one hidden layer on prepared features."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from churn.model.encoding import Matrix, sigmoid
from churn.model.learners.arrays import from_npz, to_npz
from churn.model.learners.base import FitData, Floats, Grown, LearnerError, Params, Watch, unwatched
from churn.model.learners.preparing import RankNormal
from churn.model.learners.threads import one_thread
from churn.model.metrics import log_loss

MOST_ROWS = 200_000
_MOST_EPOCHS, _PATIENCE = 30, 4


@dataclass(frozen=True, eq=False)
class Network:
    """Log-odds of a network with one hidden layer of rectified units.

    Attributes:
        prepare: makes the columns from features.
        hidden: (columns, units) weights, and ``hidden_bias`` (units,).
        output: (units,) weights, and ``output_bias``.
        epochs: passes over the rows.
        params: what it was fitted with.
    """

    prepare: RankNormal
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: float
    epochs: int
    params: Params

    suffix: ClassVar[str] = "npz"
    exact: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Number of epochs."""
        return self.epochs

    def margin(self, X: Matrix, size: int | None = None) -> Floats:
        """Return the log-odds of churn, (rows,)."""
        units = np.maximum(self.prepare.transform(X) @ self.hidden + self.hidden_bias, 0)
        margin: Floats = (units @ self.output).astype(np.float64) + self.output_bias
        return margin

    def to_bytes(self) -> bytes:
        """Return its arrays as an .npz file."""
        arrays: dict[str, NDArray[Any]] = {
            "hidden": self.hidden,
            "hidden_bias": self.hidden_bias,
            "output": self.output,
            "output_bias": np.array([self.output_bias]),
            "epochs": np.array([self.epochs]),
        }
        return to_npz(self.prepare.arrays() | arrays)

    @classmethod
    def from_bytes(cls, raw: bytes, threads: int = 0) -> Self:
        """Read its arrays."""
        arrays = from_npz(raw)
        try:
            return cls(
                RankNormal.of_arrays(arrays),
                arrays["hidden"].astype(np.float32),
                arrays["hidden_bias"].astype(np.float32),
                arrays["output"].astype(np.float32),
                float(arrays["output_bias"][0]),
                int(arrays["epochs"][0]),
                {},
            )
        except (KeyError, IndexError) as error:
            raise ValueError(f"an array is missing: {error}") from error


@dataclass(frozen=True)
class NeuralNetwork:
    """Fits the network by Adam; the number of epochs is chosen on a fold's later rows."""

    seed: int = 1
    params: Params | None = None

    kind: ClassVar[str] = "network"
    sized: ClassVar[bool] = True

    def grow(self, fit: FitData, validate: FitData, watch: Watch = unwatched) -> Grown:
        """Add epochs until so many in a row have not lowered the later rows' log loss."""
        X, churned = validate.matrix, validate.churned
        losses: list[float] = []

        def stop(network: Network) -> bool:
            losses.append(log_loss(churned, sigmoid(network.margin(X))))
            watch(network.epochs, _MOST_EPOCHS)
            return len(losses) - 1 - int(np.argmin(losses)) >= _PATIENCE

        networks = self._epochs(fit, _MOST_EPOCHS, stop)
        return Grown(networks[int(np.argmin(losses))], np.array(losses))

    def fit(self, fit: FitData, size: int, watch: Watch = unwatched) -> Network:
        """Fit for a number of epochs on at most 200,000 rows, drawn with the seed.

        Raises:
            LearnerError: it diverges.
        """

        def stop(network: Network) -> bool:
            watch(network.epochs, size)
            return False

        return self._epochs(fit, size, stop)[-1]

    def _epochs(self, fit: FitData, most: int, stop: Any) -> list[Network]:
        from sklearn.neural_network import MLPClassifier  # slow to import

        defaults: Params = {"units": 32, "alpha": 1.0, "learning_rate": 0.001, "batch": 256}
        given = defaults | (self.params or {})
        data = fit.sample(MOST_ROWS, self.seed)
        X = data.matrix
        prepare = RankNormal.fit(X)
        columns = np.ascontiguousarray(prepare.transform(X))
        model = MLPClassifier(
            (int(given["units"]),),
            alpha=float(given["alpha"]),
            learning_rate_init=float(given["learning_rate"]),
            batch_size=min(int(given["batch"]), len(columns)),
            random_state=self.seed,
        )
        networks: list[Network] = []
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            for epoch in range(1, most + 1):
                try:
                    model.partial_fit(columns, data.churned, classes=[0, 1])
                except ValueError as error:  # scikit-learn's word for weights that are not finite
                    raise LearnerError(f"the network diverged in epoch {epoch}: {_LOWER}") from error
                network = _network(prepare, model, epoch, given)
                if not np.isfinite(network.hidden).all() or not np.isfinite(network.output).all():
                    raise LearnerError(f"the network diverged in epoch {epoch}: {_LOWER}")
                networks.append(network)
                if stop(network):
                    break
        return networks


_LOWER = "lower its learning_rate"


def _network(prepare: RankNormal, model: Any, epoch: int, params: Params) -> Network:
    (hidden, output), (hidden_bias, output_bias) = model.coefs_, model.intercepts_
    return Network(
        prepare,
        hidden.astype(np.float32),
        hidden_bias.astype(np.float32),
        output[:, 0].astype(np.float32),
        float(output_bias[0]),
        epoch,
        params,
    )
