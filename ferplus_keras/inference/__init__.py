"""Use a trained network on photos, videos, cameras and archives of pictures."""

import os

# ONNX Runtime's wheels report use to their maker from 1.29 on, unless told so before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
