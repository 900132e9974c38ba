"""Engines that answer: `extractive` without a model, any OpenAI-compatible server; and dense embedders."""
