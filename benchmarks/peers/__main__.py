"""`python benchmarks/peers`: accuracy and speed of what pip and npm install (measure.py)."""

import sys
from pathlib import Path

sys.path.pop(0)  # here, fer.py would hide the package fer
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.measure import main

sys.exit(main())
