"""What every test has: real parts on request, no network but loopback, and the seed of the run."""

import os

from hypothesis import settings

pytest_plugins = [
    "tests.parts.environments",
    "tests.parts.network",
    "tests.parts.postgres",
    "tests.parts.programs",
    "tests.parts.seed",
    "tests.parts.tls",
]

# In continuous integration the examples are the same each time, as the seed is.
settings.register_profile("falaj", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("falaj")
