"""Networks: the table of them, their graphs, their published weights and what is frozen."""

from ferplus_keras.models import networks  # noqa: F401  fills `registry.MODELS`
