"""Weights: where they are, how they are downloaded and verified, and how other formats are converted."""
