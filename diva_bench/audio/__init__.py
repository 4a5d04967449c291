"""Audio: decoding to 16 kHz mono, checks of containers, audio conditions, and acoustic fingerprints."""

from diva_bench.audio.clip import RATE, VERSION, decode, opened, read, silent

__all__ = ["RATE", "VERSION", "decode", "opened", "read", "silent"]
