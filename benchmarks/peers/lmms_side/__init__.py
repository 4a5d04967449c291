"""What lmms-eval needs to transcribe our clips on a CPU: its plugin package, named in LMMS_EVAL_PLUGINS."""
