"""The models of the plugin, as lmms-eval looks them up."""

AVAILABLE_MODELS = {"whisper_cpu": "WhisperCpu"}
