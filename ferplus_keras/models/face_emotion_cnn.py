"""FaceEmotionCNN: the convolutional network of shangeth's Facial-Emotion-Recognition project.

After https://github.com/shangeth/Facial-Emotion-Recognition-PyTorch-ONNX: seven valid 3x3
convolutions on 48x48 grey faces. The first four pools have stride 1, so that the side shrinks
slowly: 48 -> 45 -> 42 -> 39 -> 36 -> 17 -> 7 -> 2, and 2 x 2 x 256 = 1,024 features are left.
"""

from keras import KerasTensor, layers

_CHANNELS = {"data_format": "channels_last"}
_DROPOUT = 0.3


def face_emotion_cnn(images: KerasTensor) -> KerasTensor:
    """Return features (b, 256) of images (b, s, s, 1)."""
    x = images
    for i, filters in enumerate((8, 16, 32, 64, 128, 256, 256), start=1):
        x = layers.Conv2D(filters, 3, name=f"conv{i}", **_CHANNELS)(x)
        if i in (2, 4, 6, 7):
            x = layers.Dropout(_DROPOUT, name=f"drop{i}")(x)
        # PyTorch's defaults.
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{i}")(x)
        x = layers.MaxPooling2D(2, strides=1 if i < 5 else 2, name=f"pool{i}", **_CHANNELS)(x)
        x = layers.ReLU(name=f"relu{i}")(x)
    x = layers.Flatten(name="flatten", **_CHANNELS)(x)
    x = layers.Dense(512, activation="relu", name="fc1")(x)
    x = layers.Dropout(_DROPOUT, name="fc1_drop")(x)
    return layers.Dense(256, activation="relu", name="fc2")(x)
