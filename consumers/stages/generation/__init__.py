"""The stage of `generation`."""
