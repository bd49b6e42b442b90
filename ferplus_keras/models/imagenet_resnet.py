"""ResNet-50 and ResNet-101 as in keras.applications, for weights trained on ImageNet.

He et al. 2016 (arXiv:1512.03385), the stride on each stage's first 1x1 convolution. The layers are
called on our own images, so that they join one flat graph and have positions.
"""

from keras import KerasTensor, applications


def resnet50(images: KerasTensor) -> KerasTensor:
    """ResNet-50 of images (b, s, s, 3): features (b, 2048)."""
    return _features(applications.ResNet50, images)


def resnet101(images: KerasTensor) -> KerasTensor:
    """ResNet-101 of images (b, s, s, 3): features (b, 2048)."""
    return _features(applications.ResNet101, images)


def _features(build, images):
    return build(include_top=False, weights=None, input_tensor=images, pooling="avg").output
