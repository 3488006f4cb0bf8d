"""Three candidates that should not reach production, each for a reason of its own.

- `leaky` was given the delay of the departure, which nobody knows two hours before it. Its scores are splendid.
- `careless` looks at carrier, airport and hour alone. It is worse.
- `strict` refuses a carrier or airport that it has never seen. Where all are known its scores are as good as any.
"""

import numpy as np
from sklearn.preprocessing import OrdinalEncoder

import falaj as fj
from training import COLUMNS, LABEL, boosted, days, matrix, training_set

LEAKY = [*COLUMNS, "dep_delay"]
CARELESS = ["carrier", "origin", "hour"]


@fj.step(memory="2GiB")
def train_leaky(data: fj.Table, *, leaves: int) -> fj.Model:
    """With `dep_delay` among the columns."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    seen = days(data, held_out=False)
    return boosted(encode, LEAKY, leaves).fit(matrix(seen, LEAKY), seen["late"].to_numpy())


@fj.step(memory="2GiB")
def train_careless(data: fj.Table, *, leaves: int) -> fj.Model:
    """Three columns are enough for everybody."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    seen = days(data, held_out=False)
    return boosted(encode, CARELESS, leaves).fit(matrix(seen, CARELESS), seen["late"].to_numpy())


@fj.step(memory="2GiB")
def train_strict(data: fj.Table, *, leaves: int) -> fj.Model:
    """What was not in the data is an error."""
    seen = days(data, held_out=False)
    encode = OrdinalEncoder(categories=[np.unique(seen[name].to_pylist()) for name in ("carrier", "origin", "dest")])
    return boosted(encode, COLUMNS, leaves).fit(matrix(seen, COLUMNS), seen["late"].to_numpy())


@fj.pipeline
def leaky(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 60_000):
    """A candidate that knows the future."""
    return fj.register("delay", train_leaky(training_set(flights, rows=rows), leaves=15), label=LABEL, columns=LEAKY)


@fj.pipeline
def careless(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 60_000):
    """A candidate that knows too little."""
    data = training_set(flights, rows=rows)
    return fj.register("delay", train_careless(data, leaves=15), label=LABEL, columns=CARELESS)


@fj.pipeline
def strict(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 60_000):
    """A candidate that knows all it has seen, and nothing else."""
    return fj.register("delay", train_strict(training_set(flights, rows=rows), leaves=15), label=LABEL, columns=COLUMNS)
