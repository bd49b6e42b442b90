"""Models that package registries carry, scored on the same FER+ rows by the same protocol."""
