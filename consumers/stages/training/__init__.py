"""Stages of `training`: check the data, train with checkpoints, register what was made."""
