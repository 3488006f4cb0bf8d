"""A year of flights, played month by month on a real server by several persons: `make demo`.

    python -m examples.flights.year build/flights

| file | holds |
|---|---|
| `play.py` | the year, scene after scene |
| `opening.py`, `month.py`, `ending.py` | its scenes: until a model serves, each month after, the proofs |
| `house.py` | the processes: platform server, inference server |
| `cast.py` | the persons, and how each speaks to the server |
| `asking.py` | questions to the inference server, and what it answered |
| `files.py` | the project folder, and the data that comes in |
| `scores.py` | how good the models were, with intervals |
| `telling.py` | what is printed, and what is kept for the report |
"""
