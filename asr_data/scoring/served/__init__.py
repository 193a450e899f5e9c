"""Reward models that a server runs: vLLM, SGLang or llama.cpp's, asked over HTTP by token ids."""
