"""The names that Keras 2 gave to layers that were not named."""

from collections import Counter


class Numbered:
    """Names of a fresh session's layers: activation_1, activation_2, add_1 …"""

    def __init__(self):
        self._counts = Counter()

    def __call__(self, kind: str) -> str:
        """Return the next name of a kind."""
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"
