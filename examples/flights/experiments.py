"""Three candidates that should not reach production, each for a reason of its own.

- `leaky` was given the delay of the departure, which nobody knows two hours before it. Its scores are splendid.
- `careless` looks at carrier, airport and hour alone. It is worse.
- `strict` has looked at the last three months, and takes a carrier that did not fly in them for an error. Where all are
  known its scores are as good as any.
"""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import falaj as fj
from training import COLUMNS, LABEL, boosted, days, matrix, training_set, trees

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
    """What was not in the last three months is an error."""
    seen = days(data, held_out=False)
    months = seen["month"].to_numpy()
    seen = seen.filter(months > months.max() - 3)
    known = OrdinalEncoder(handle_unknown="error")
    lenient = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    text = make_column_transformer((known, [0]), (lenient, [1, 2]), remainder="passthrough")
    return make_pipeline(text, trees(leaves)).fit(matrix(seen, COLUMNS), seen["late"].to_numpy())


@fj.pipeline
def variants(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 40_000):
    """A candidate that knows the future, and one that knows too little."""
    data = training_set(flights, rows=rows)
    fj.register("delay", train_leaky(data, leaves=15), label=LABEL, columns=LEAKY)
    fj.register("delay", train_careless(data, leaves=15), label=LABEL, columns=CARELESS)


@fj.pipeline
def strict(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 40_000):
    """A candidate that knows all it has seen, and nothing else."""
    return fj.register("delay", train_strict(training_set(flights, rows=rows), leaves=15), label=LABEL, columns=COLUMNS)
