# syntax=docker/dockerfile:1
# docker build -t ferplus-keras . && docker run --rm -p 127.0.0.1:7860:7860 ferplus-keras
FROM python:3.12-slim

# YuNet, MIT licence, of OpenCV's model zoo.
ADD --chmod=644 --checksum=sha256:8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4 \
    https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx \
    /usr/local/share/ferplus/yunet.onnx

ARG EXTRAS=serve
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir ".[${EXTRAS}]" && rm -rf /source

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65534:65534
WORKDIR /
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
ENTRYPOINT ["python", "-m", "ferplus_keras", "serve", "--host", "0.0.0.0", \
    "--faces_weights", "/usr/local/share/ferplus/yunet.onnx"]
