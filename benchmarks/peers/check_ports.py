"""Compare the networks of npm's packages, as they are run here, with TensorFlow.js.

    npm install --prefix peers --ignore-scripts @vladmandic/face-api@1.7.15 \
        @vladmandic/human@3.3.6 @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
    python benchmarks/peers/check_ports.py

runs both packages' networks in Node on drawn faces, on TensorFlow.js' plain and WebAssembly
backends, prints the largest difference between probabilities and the faces per second of one core
that WebAssembly reaches, and fails where a difference is above 1e-4.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.pop(0)  # here, fer.py would hide the package fer
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers import face_api, human
from ferplus_keras.data.sample_faces import draw_rows

PORTS = {"face_api": face_api.PEER, "human": human.PEER}
FACES, LARGEST = 64, 1e-4


def main() -> int:
    """Print a line per network and backend; return 1 where one differs too much."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--node_modules", type=Path, default=Path("peers", "node_modules"))
    modules = parser.parse_args().node_modules
    faces = np.stack([drawing.pixels for drawing in draw_rows(FACES, seed=0)])
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "faces")
        path.write_bytes(faces.tobytes())
        for backend in ("cpu", "wasm"):
            script = Path(__file__).with_name("original.mjs")
            words = ["node", script, modules.resolve(), path, backend]
            done = subprocess.run(words, capture_output=True, check=True, timeout=600)
            for name, original in json.loads(done.stdout).items():
                ported = PORTS[name].load(modules / PORTS[name].package)(faces)
                difference = np.abs(ported - original["probabilities"]).max()
                worst = max(worst, difference)
                speed = original["faces_per_second"]
                print(
                    f"{name:<10}{backend:<6}largest difference {difference:.1e}  "
                    f"{speed:,.0f} faces per second of one core"
                )
    return int(worst > LARGEST)


if __name__ == "__main__":
    sys.exit(main())
