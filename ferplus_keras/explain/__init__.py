"""Why a network classified a face as it did."""
