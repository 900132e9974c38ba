"""The stage of `embedding`."""
