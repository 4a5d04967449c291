"""Sound: encoded bytes to 16 kHz mono, what containers say, audio conditions, and acoustic fingerprints."""

from diva_bench.audio.clip import CANCELLED, RATE, UNPROMISED, VERSION, decode, opened, read

__all__ = ["CANCELLED", "RATE", "UNPROMISED", "VERSION", "decode", "opened", "read"]
