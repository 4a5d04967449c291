"""Weights: find, download, verify and convert them."""
