"""What every test has: real parts on request, no network but loopback, and the seed of the run."""

from hypothesis import settings

pytest_plugins = [
    "tests.parts.network",
    "tests.parts.postgres",
    "tests.parts.programs",
    "tests.parts.seed",
    "tests.parts.tls",
]

settings.register_profile("falaj", deadline=None, print_blob=True)
settings.load_profile("falaj")
