"""FaceEmotionCNN: the convolutional network of shangeth's Facial-Emotion-Recognition project.

After https://github.com/shangeth/Facial-Emotion-Recognition-PyTorch-ONNX: seven valid 3x3
convolutions on 48x48 grey faces. The first four pools have stride 1, so that the side shrinks
slowly: 48 -> 45 -> 42 -> 39 -> 36 -> 17 -> 7 -> 2, and 2 x 2 x 256 = 1,024 features are left.
"""

from ferplus_keras.models.registry import network


@network(
    "FaceEmotionCNN",
    description="seven valid convolutions on raw faces, by shangeth",
    channel_order="grey",
    mean=(129.3859,),
    std=(65.0579,),
    image_size=48,
)
def face_emotion_cnn(images):
    """Return features (b, 256) of images (b, s, s, 1)."""
    from keras import layers

    x = images
    for i, filters in enumerate((8, 16, 32, 64, 128, 256, 256), start=1):
        x = layers.Conv2D(filters, 3, name=f"conv{i}")(x)
        if i in (2, 4, 6, 7):
            x = layers.Dropout(0.3, name=f"drop{i}")(x)
        # PyTorch's defaults.
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{i}")(x)
        x = layers.MaxPooling2D(2, strides=1 if i < 5 else 2, name=f"pool{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(512, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.3, name="fc1_drop")(x)
    return layers.Dense(256, activation="relu", name="fc2")(x)
