"""Schemathesis against a whole house: arguments that the document allows, and arguments that it does not.

No answer is a server's error, each is one that the document tells of, with the body that it describes; what the
document does not allow is refused; nothing is answered without a token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from falaj.platform.rooms import every_operation
from falaj.server import openapi
from falaj.server.surface import routes
from tests.platform.places import contract, rows
from tests.server.house import House

SCHEMA = schemathesis.openapi.from_dict(openapi.document(routes(every_operation())))
SCHEMA.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = {"sqlite": 4, "postgresql": 2}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A store with a dataset under a contract, so that some of what is asked is there."""
    folder = tmp_path_factory.mktemp("schema")
    database = ""
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_server").create_database(f"schema_{os.getpid()}")
    built = House(folder / "flights", database)
    try:
        built.olga.call("config.apply", {"files": [contract()]})
        staged = built.olga.stage(rows(folder / "a.csv"))
        built.olga.call("data.add", {"dataset": "flights", "files": [{k: staged[k] for k in ("staged", "name")}]})
        yield built
    finally:
        built.close()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.label)
def test_what_is_answered_is_what_the_document_says(
    house: House, operation: Any, mode: GenerationMode, seed: int
) -> None:
    # An unknown argument of a query string may have a value that leaves no trace in it; a body shows all it holds.
    refused = [negative_data_rejection] if mode.is_negative and operation.method == "post" else []

    @seeded(seed)
    @settings(
        max_examples=EXAMPLES[house.platform.ground.database.dialect],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        headers = {"Authorization": f"Bearer {house.token}", "Prefer": "wait=30"}
        case.call_and_validate(base_url=house.url, headers=headers, checks=[*CHECKS, *refused])

    asked()


def test_afterwards_everything_is_as_it_should_be(house: House) -> None:
    house.check_clean()
