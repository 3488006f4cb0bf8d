"""What every candidate has in common: the rows that it is trained on, its columns, and the form of the model.

A cancelled flight has no arrival delay: it is left out, not guessed.
"""

import numpy as np
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import falaj as fj
from features import delay_v1

TEXT = ["carrier", "origin", "dest"]
NUMBERS = ["hour", "minute", "weekday", "distance"]
KNOWN = ["temp", "humid", "wind_speed", "precip", "visib", "pressure"]
KNOWN += ["airport_delay_3h", "airport_departures_3h", "route_late_28d", "built", "seats"]
COLUMNS = [*TEXT, *NUMBERS, *KNOWN]
LABEL = "arr_delay > 30"

ROWS_OF_SCHEDULE = f"""
    SELECT month, carrier, origin, dest, tailnum, distance, hour, minute,
           isodow(make_date(year, month, day)) AS weekday,
           dep_delay, {LABEL} AS late, day % 7 = 0 AS held_out,
           time_hour + to_minutes(minute) - INTERVAL 2 HOUR AS decided_at
    FROM flights WHERE arr_delay IS NOT NULL
    ORDER BY md5(concat_ws('/', year, month, day, carrier, flight, origin))
"""


@fj.step(memory="2GiB")
def training_set(flights: fj.Dataset, *, rows: int) -> fj.Table:
    """Flights as they were known two hours before their scheduled departure: at most `rows` of them, drawn by key."""
    chosen = flights.sql(f"{ROWS_OF_SCHEDULE} LIMIT {rows}")
    joined = fj.point_in_time(chosen, delay_v1, at="decided_at")
    fj.log(rows=joined.num_rows, late=np.mean(joined["late"].to_numpy()))
    return joined


def boosted(encode: OrdinalEncoder, columns: list[str], leaves: int) -> Pipeline:
    """Columns by place, since tables have no names where the model is served; those of text become numbers.

    The trees' own handling of categories is not used: it keeps a function in the model, and a file of a model may hold
    none.
    """
    text = [columns.index(name) for name in columns if name in TEXT]
    return make_pipeline(make_column_transformer((encode, text), remainder="passthrough"), trees(leaves))


def trees(leaves: int) -> HistGradientBoostingClassifier:
    """Eighty of them; a leaf has a hundred flights or more."""
    return HistGradientBoostingClassifier(
        max_leaf_nodes=leaves, max_iter=80, min_samples_leaf=100, early_stopping=False, random_state=0
    )


def days(data: pa.Table, *, held_out: bool) -> pa.Table:
    """The rows of the days that are held out, or of the others."""
    chosen = data["held_out"].to_numpy()
    return data.filter(chosen if held_out else ~chosen)


def matrix(data: pa.Table, columns: list[str]) -> np.ndarray:
    """Columns side by side as a model reads them: text as it is, numbers as floats, null as NaN."""
    out = np.empty((data.num_rows, len(columns)), dtype=object)
    for place, name in enumerate(columns):
        out[:, place] = data[name].to_pylist() if name in TEXT else data[name].cast(pa.float64()).to_numpy()
    return out
