"""A package that is installed in a folder: what pip leaves there of one with entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def installed(folder: Path, package: str, entry_points: Mapping[str, str], source: str, version: str = "1.0") -> Path:
    """Puts a package into `folder`: `entry_points` of ``hrpc.plugins``, and `source` in a module of its name."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    (info / "entry_points.txt").write_text(f"[hrpc.plugins]\n{lines}")
    (folder / f"{package.replace('-', '_')}.py").write_text(source)
    return folder
