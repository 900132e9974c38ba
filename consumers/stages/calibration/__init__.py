"""The stages of `calibration`: the judge scores what people have scored, and both are compared."""
