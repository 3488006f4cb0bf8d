"""`python -m examples.flights.year FOLDER`."""

import sys
from pathlib import Path

from examples.flights.year.play import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/flights")))
