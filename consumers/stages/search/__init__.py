"""Stages of `search`: ask for trials and compare those that ended, until there are enough; then report."""
