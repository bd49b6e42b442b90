"""What many clients get of a server, beside the bare predictor on the same cores.

    python benchmarks/serve.py --clients 50 --seconds 60

prints one table: pictures per second, median and 95th percentile of a request, errors, and the
share of the bare predictor's throughput. The clients run on the same cores as the server.
"""

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

EXAMPLE = Path(__file__).parent.parent / "ferplus_keras/serve/page/example.jpg"


def main() -> None:
    """Measure pictures with a detector, and cropped faces."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--faces_weights", help="YuNet's file")
    parser.add_argument("--picture", type=Path, default=EXAMPLE)
    arguments = parser.parse_args()
    weights = arguments.faces_weights
    words = ["--faces_weights", weights] if weights else []
    from ferplus_keras import Predictor

    server = subprocess.Popen(
        [sys.executable, "-m", "ferplus_keras", "serve", "--port", "0", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        place = urlsplit(server.stdout.readline().split()[4])
        print(f"{arguments.clients} clients, {arguments.seconds:g} s, {os.cpu_count()} cores")
        with urlopen(f"{place.geturl()}v1/models") as reply:
            first = json.load(reply)["detectors"][0]
        file = {"faces_weights": weights} if first == "yunet" else {}
        heads = ("bare/s", "served/s", "share", "p50 ms", "p95 ms", "errors")
        print(f"{'':14}" + "".join(f"{head:>9}" for head in heads))
        for path, content, bare in (
            ("predict", arguments.picture.read_bytes(), Predictor(detector=first, **file)),
            ("predict-faces", _face(arguments.picture), Predictor(detector="whole")),
        ):
            alone = _alone(bare, content, min(arguments.seconds, 10))
            rate, seconds, errors = asyncio.run(
                _clients(place, f"/v1/{path}", content, arguments.clients, arguments.seconds)
            )
            middle, late = 1000 * np.percentile(seconds, (50, 95))
            print(
                f"{path:14}{alone:9.1f}{rate:9.1f}{rate / alone:9.0%}{middle:9.0f}{late:9.0f}"
                f"{errors:9d}",
                flush=True,
            )
    finally:
        server.terminate()
        server.wait()


def _face(picture: Path) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.open(picture).convert("L").resize((48, 48)).save(out, "png")
    return out.getvalue()


def _alone(predictor, content: bytes, seconds: float) -> float:
    """Return the pictures per second that a loop over the predictor answers."""
    from PIL import Image

    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        predictor([Image.open(io.BytesIO(content))])
        count += 1
    return count / (time.perf_counter() - began)


async def _clients(place, path, content: bytes, clients: int, seconds: float):
    """Return answers per second, the seconds of each, and how many failed."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    request, taken, errors = head.encode() + content, [], 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - began)
            errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    began = time.perf_counter()
    results = await asyncio.gather(*(client() for _ in range(clients)), return_exceptions=True)
    errors += sum(isinstance(each, Exception) for each in results)
    return len(taken) / (time.perf_counter() - began), taken, errors


if __name__ == "__main__":
    main()
