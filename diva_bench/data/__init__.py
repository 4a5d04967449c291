"""Data of a task: where it is, its rows and clips, and the checks that both pass before a model is asked."""

from diva_bench.data.dataset import Dataset, Fault, check, load, unheard

__all__ = ["Dataset", "Fault", "check", "load", "unheard"]
