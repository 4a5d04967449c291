"""Data of tasks: find it, read its rows and clips, and check both before a model is run."""

from diva_bench.data.dataset import Dataset, Fault, check, load, unheard

__all__ = ["Dataset", "Fault", "check", "load", "unheard"]
