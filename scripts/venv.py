"""Make .venv with a Python that Falaj supports: this one, else the newest that is installed. Standard library only."""

import shutil
import subprocess
import sys

SUPPORTED = ((3, 13), (3, 12), (3, 11))


def fitting() -> str:
    """The path of a supported Python; an empty text where none is found."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in SUPPORTED:
        found = shutil.which("python%d.%d" % (major, minor))  # noqa: UP031  read by the older Pythons it refuses
        if found and subprocess.call([found, "-c", ""]) == 0:
            return found
    return ""


def main() -> int:
    python = fitting()
    if not python:
        sys.stderr.write("Falaj needs Python 3.11, 3.12 or 3.13; found only %s. Give one: " % sys.version.split()[0])  # noqa: UP031
        sys.stderr.write("make setup PYTHON=/path/to/python3.12 (Debian 12: apt-get install -y python3 python3-venv)\n")
        return 1
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        sys.stderr.write(python + " cannot make virtual environments: apt-get install -y python3-venv\n")
        return 1
    return subprocess.call([python, "-m", "venv", ".venv"])


if __name__ == "__main__":
    sys.exit(main())
