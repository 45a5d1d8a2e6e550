"""Where the repository is, and what lies beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # what the project measures with; absent elsewhere
