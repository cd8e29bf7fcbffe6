"""Fail if git tracks a file above 100 kB that is not one of the bundled weights."""

import subprocess
import sys
from pathlib import Path

LIMIT = 100_000
ALLOWED = (".safetensors", "samples.png")

if not Path(".git").exists():
    sys.exit(0)  # an unpacked archive has nothing to commit
listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
large = [name for name in listed if name and Path(name).exists() and Path(name).stat().st_size > LIMIT and not name.endswith(ALLOWED)]
sys.exit(f"too large for the repository: {', '.join(large)}" if large else 0)
