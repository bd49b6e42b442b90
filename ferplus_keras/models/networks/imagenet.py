"""ResNet-50 and ResNet-101 as in keras.applications, with its weights trained on ImageNet.

He et al. 2016 (arXiv:1512.03385), the stride on each stage's first 1x1 convolution. The layers are
called on our own images, so that they join one flat graph and have positions.
"""

from typing import Any

from ferplus_keras.models.registry import PublishedWeights, network


def _imagenet(file_name: str, md5: str) -> dict[str, Any]:
    """Return what both networks share, with the weights that keras.applications publishes."""
    stem = (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        f"{file_name}_weights_tf_dim_ordering_tf_kernels"
    )
    weights = PublishedWeights((f"{stem}_notop.h5", f"{stem}.h5"), digest=md5)
    return {
        "channel_order": "bgr",
        "mean": (103.939, 116.779, 123.68),
        "weights": {"imagenet": weights},
        "top_layers": ("predictions",),
    }


@network(
    "ImageNetResNet50",
    description="ResNet-50 of keras.applications, pretrained on ImageNet",
    **_imagenet("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
)
def resnet50(images):
    """ResNet-50 of images (b, s, s, 3): features (b, 2048)."""
    from keras.applications import ResNet50

    return ResNet50(include_top=False, weights=None, input_tensor=images, pooling="avg").output


@network(
    "ImageNetResNet101",
    description="ResNet-101 of keras.applications, pretrained on ImageNet",
    **_imagenet("resnet101", "88cf7a10940856eca736dc7b7e228a21"),
)
def resnet101(images):
    """ResNet-101 of images (b, s, s, 3): features (b, 2048)."""
    from keras.applications import ResNet101

    return ResNet101(include_top=False, weights=None, input_tensor=images, pooling="avg").output
