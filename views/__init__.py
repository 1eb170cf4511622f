"""Templates, styles, scripts and translations of the pages: files, and no code."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STATIC = FOLDER / "static"
