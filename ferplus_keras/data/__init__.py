"""CSV files and pictures: read, labelled, split, batched."""
