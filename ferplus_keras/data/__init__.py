"""The two CSV files: read, labelled, batched."""
