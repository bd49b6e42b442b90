"""Use a trained network: photos, video, an app, and exports for other runtimes."""

import os

# ONNX Runtime's wheels report use to their maker from 1.29 on, unless told so before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
