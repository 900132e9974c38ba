"""Prompts as files: those of WeLIP in `files/`, and a deployment's own."""
