"""diva-bench: run speech language models on spoken benchmarks and get numbers that can be trusted."""

__version__ = "0.1.0"
