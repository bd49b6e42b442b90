"""Draw the example picture of the server's page: four people who do not exist, in colour.

python tools/draw_example.py ferplus_keras/serve/page/example.jpg
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from ferplus_keras.data import sample_faces
from ferplus_keras.data.sample_faces import EXPRESSIONS, Person

WIDTH, HEIGHT = 1280, 800
WALL = ((222, 231, 238), (190, 206, 216))
PEOPLE = (  # x, y, half a head's width, expression, skin, hair, style of hair, shirt
    (222, 392, 118, "happiness", (236, 190, 160), (104, 62, 40), "long", (196, 84, 72)),
    (506, 352, 112, "surprise", (176, 122, 88), (40, 30, 28), "bun", (58, 112, 128)),
    (792, 398, 116, "neutral", (222, 170, 132), (58, 46, 40), "short", (88, 108, 72)),
    (1064, 356, 114, "anger", (242, 204, 180), (168, 104, 52), "short", (74, 82, 130)),
)


def draw() -> np.ndarray:
    """Return the picture, (h, w, 3) uint8 RGB: each channel is drawn as a grey picture is."""
    channels = []
    for channel in range(3):
        top, bottom = WALL[0][channel], WALL[1][channel]
        rows = np.linspace(top, bottom, HEIGHT)[:, None]
        canvas = np.rint(np.broadcast_to(rows, (HEIGHT, WIDTH))).astype(np.uint8)
        for x, y, radius in ((130, 120, 210), (700, 60, 150), (1190, 170, 240)):
            cv2.circle(canvas, (x, y), radius, float(top + 5), -1, cv2.LINE_AA)
        for person in PEOPLE:
            _draw_person(canvas, channel, *person)
        channels.append(canvas)
    return np.stack(channels, axis=-1)


def _draw_person(canvas, channel, x, y, scale, name, skin, hair, style, shirt) -> None:
    pen = sample_faces.Pen(canvas, scale, 0.0, np.array([x, y], float))
    grey, face = float(skin[channel]), EXPRESSIONS[name]
    if name == "neutral":  # wide eyes would say surprise
        face = face._replace(eye_open=-0.5, brow_height=-0.4)
    person = Person(grey, hair[channel], style, 1.24, 0.41, 0.85, 0.41, 1)
    sample_faces.draw_head(pen, person, face)
    pen.fill(sample_faces.oval(0, 2.4, 1.52, 0.95), shirt[channel])
    pen.fill([(-1.52, 2.4), (1.52, 2.4), (1.55, 6), (-1.55, 6)], shirt[channel])


if __name__ == "__main__":
    cv2.imwrite(sys.argv[1], draw()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
