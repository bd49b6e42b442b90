"""The one table of networks. Reading it imports no Keras: command lines check names at once.

To add a network, write a function from images (b, s, s, channels) to features in a module of this
package and give it a row in `MODELS`.
"""

from dataclasses import dataclass, field

from ferplus_keras.emotions import FACE_SIZE

_RCMALLI = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
_BGR_VGGFACE2 = (91.4953, 103.8827, 131.0912)
_BGR_IMAGENET = (103.939, 116.779, 123.68)
_RGB_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that somebody publishes for a network.

    Attributes:
        urls: files of them, the one to download first. The others are used where they lie on disk
            already.
        folder: where they are looked for and downloaded to, inside Keras' home.
        md5: hexadecimal MD5 of the first file, where its publisher states one.
        preset: keras-hub preset that they are taken from instead of a URL.
    """

    urls: tuple[str, ...] = ()
    folder: str = "models"
    md5: str = ""
    preset: str = ""

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files on disk, the one to download first."""
        names = tuple(url.rpartition("/")[2] for url in self.urls)
        return names or (f"{self.preset}.weights.h5",)


@dataclass(frozen=True)
class ModelSpec:
    """A network: what it is, how faces are prepared for it and where its weights are published.

    Attributes:
        name: its name on the command line and in `build_model`.
        description: one line for help texts and tables.
        backbone: "module:function" inside `ferplus_keras.models`; the function takes images
            (b, s, s, len(mean)) and returns features (b, ...). Imported when the network is built.
        mean: grey level (0-255) subtracted in each channel, in the channel order of the weights;
            one number a channel.
        weighted_layers: how many backbone layers carry weights; tells whose checkpoint a file is.
        std: grey levels by which each channel is divided then; empty for no division.
        crop: side, in pixels, of the centre of the 48x48 face that the network looks at.
        image_size: side to which faces are resized unless another is asked for, in pixels.
        min_image_size: smallest image the backbone's strides leave a feature map of, in pixels.
        dropout_rate: dropout before the last layer unless another is asked for.
        equalize: whether the light on a face is evened out first, as `illumination` says.
        weights: published weights by name.
        top_layers: layers of the published files that classified the original identities and are
            left out.
    """

    name: str
    description: str
    backbone: str
    mean: tuple[float, ...]
    weighted_layers: int
    std: tuple[float, ...] = ()
    crop: int = FACE_SIZE
    image_size: int = 224
    min_image_size: int = FACE_SIZE
    dropout_rate: float = 0.3
    equalize: bool = False
    weights: dict[str, PublishedWeights] = field(default_factory=dict)
    top_layers: tuple[str, ...] = ()

    @property
    def default_weights(self) -> str:
        """Name of the weights it starts from unless others are asked for."""
        return next(iter(self.weights), "none")


def _vggface2(network: str) -> dict[str, PublishedWeights]:
    urls = (f"{_RCMALLI}notop_{network}.h5", f"{_RCMALLI}{network}.h5")
    return {"vggface2": PublishedWeights(urls, "models/vggface")}


def _imagenet(network: str, md5: str) -> dict[str, PublishedWeights]:
    stem = f"{_KERAS}{network}_weights_tf_dim_ordering_tf_kernels"
    return {"imagenet": PublishedWeights((f"{stem}_notop.h5", f"{stem}.h5"), md5=md5)}


# Means of the VGGFace networks in B, G, R order as in keras-vggface's preprocess_input, version 2
# (VGGFace2) and 1 (VGGFace). The VGGFace2 weights are under CC BY-SA 4.0. docs/networks.md names
# the sources of all others.
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="ResNet50",
            description="ResNet-50, pretrained on the faces of VGGFace2",
            backbone="vggface:resnet50",
            mean=_BGR_VGGFACE2,
            weighted_layers=106,
            weights=_vggface2("resnet50"),
            top_layers=("classifier",),
        ),
        ModelSpec(
            name="SeNet50",
            description="squeeze-and-excitation ResNet-50, pretrained on the faces of VGGFace2",
            backbone="vggface:senet50",
            mean=_BGR_VGGFACE2,
            weighted_layers=138,
            weights=_vggface2("senet50"),
            top_layers=("classifier",),
        ),
        ModelSpec(
            name="VGG16",
            description="VGG-16, pretrained on the faces of VGGFace, VGGFace2's predecessor",
            backbone="vggface:vgg16",
            mean=(93.5940, 104.7624, 129.1863),
            weighted_layers=13,
            weights=_vggface2("vgg16"),
            top_layers=("fc6", "fc7", "fc8"),
        ),
        ModelSpec(
            name="ResNet18",
            description="ResNet-18 with pre-activation blocks, from scratch",
            backbone="resnet_v2:resnet18",
            mean=_BGR_VGGFACE2,
            weighted_layers=42,
        ),
        ModelSpec(
            name="ResNet34",
            description="ResNet-34 with pre-activation blocks, from scratch",
            backbone="resnet_v2:resnet34",
            mean=_BGR_VGGFACE2,
            weighted_layers=74,
        ),
        ModelSpec(
            name="CompactFER",
            description="small residual network for raw faces, 2.6 MB as float16",
            backbone="compact_fer:compact_fer",
            mean=(128.0,),
            std=(64.0,),
            weighted_layers=28,
            image_size=48,
            dropout_rate=0.2,
        ),
        ModelSpec(
            name="VGG13",
            description="VGG-13 of the FER+ paper, for faces whose light is evened out",
            backbone="vgg13:vgg13",
            mean=(0.0,),
            equalize=True,
            weighted_layers=12,
            image_size=64,
            dropout_rate=0.5,
        ),
        ModelSpec(
            name="FerVGG",
            description="VGG with normalisation on 40x40 crops, 73.28 % on FER2013",
            backbone="fer_vgg:fer_vgg",
            mean=(0.0,),
            std=(255.0,),
            crop=40,
            weighted_layers=18,
            image_size=40,
            min_image_size=16,
            dropout_rate=0.2,
        ),
        ModelSpec(
            name="FaceEmotionCNN",
            description="seven valid convolutions on raw faces, by shangeth",
            backbone="face_emotion_cnn:face_emotion_cnn",
            mean=(129.3859,),
            std=(65.0579,),
            weighted_layers=16,
            image_size=48,
        ),
        ModelSpec(
            name="DeepFaceCNN",
            description="small network of deepface, 1.5 million parameters",
            backbone="deep_face_cnn:deep_face_cnn",
            mean=(0.0,),
            std=(255.0,),
            weighted_layers=7,
            image_size=48,
            dropout_rate=0.2,
        ),
        ModelSpec(
            name="ScratchCNN",
            description="three convolutions and wide dense layers, a baseline by Aryan Garg",
            backbone="scratch:scratch_cnn",
            mean=_RGB_IMAGENET[0],
            std=_RGB_IMAGENET[1],
            weighted_layers=5,
            dropout_rate=0.0,
        ),
        ModelSpec(
            name="ScratchMLP",
            description="one hidden layer on all pixels, a baseline by Aryan Garg",
            backbone="scratch:scratch_mlp",
            mean=_RGB_IMAGENET[0],
            std=_RGB_IMAGENET[1],
            weighted_layers=1,
            dropout_rate=0.0,
        ),
        ModelSpec(
            name="ImageNetResNet50",
            description="ResNet-50 of keras.applications, pretrained on ImageNet",
            backbone="imagenet_resnet:resnet50",
            mean=_BGR_IMAGENET,
            weighted_layers=106,
            weights=_imagenet("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
            top_layers=("predictions",),
        ),
        ModelSpec(
            name="ImageNetResNet101",
            description="ResNet-101 of keras.applications, pretrained on ImageNet",
            backbone="imagenet_resnet:resnet101",
            mean=_BGR_IMAGENET,
            weighted_layers=208,
            weights=_imagenet("resnet101", "88cf7a10940856eca736dc7b7e228a21"),
            top_layers=("predictions",),
        ),
        ModelSpec(
            name="ViTBase16",
            description="vision transformer ViT-B/16 of keras-hub, pretrained on ImageNet",
            backbone="vit:vit_base16",
            mean=(127.5, 127.5, 127.5),
            std=(127.5, 127.5, 127.5),
            weighted_layers=63,
            weights={
                "imagenet": PublishedWeights(
                    folder="models/keras_hub", preset="vit_base_patch16_224_imagenet"
                )
            },
        ),
    )
}
