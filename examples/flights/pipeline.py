"""From flights to a model: how likely is it, two hours before departure, to arrive more than half an hour late?

falaj pipeline run delay
"""

from sklearn.preprocessing import OrdinalEncoder

import falaj as fj
from experiments import strict, variants  # noqa: F401  pipelines, too
from training import COLUMNS, LABEL, boosted, days, matrix, training_set


@fj.step(memory="2GiB", retries=1)
def train(data: fj.Table, *, leaves: int) -> fj.Model:
    """Boosted trees of at most so many leaves. A carrier or airport that is new or rare counts as "another one"."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=50)
    model = boosted(encode, COLUMNS, leaves)
    seen = days(data, held_out=False)
    fj.log(rows=seen.num_rows)
    return model.fit(matrix(seen, COLUMNS), seen["late"].to_numpy())


@fj.step
def evaluate(model: fj.Model, data: fj.Table) -> fj.Metrics:
    """Every seventh day was held out. This chooses among candidates; the gate measures for itself."""
    return fj.score(model, days(data, held_out=True), label="late", slices=["origin", "carrier"], columns=COLUMNS)


@fj.pipeline
def delay(flights: fj.Dataset = fj.dataset("flights@main"), rows: int = 40_000, leaves: tuple[int, ...] = (7, 15, 31)):
    """Three candidates side by side; the best is registered."""
    data = training_set(flights, rows=rows)
    models = train.map(data=data, leaves=leaves)
    metrics = evaluate.map(model=models, data=data)
    best = fj.best(models, metrics, by="brier", least=True)
    return fj.register("delay", best, label=LABEL, columns=COLUMNS)
