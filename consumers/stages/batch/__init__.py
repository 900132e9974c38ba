"""Stages of `batch`: check the lines, let each become a job, write what became of them."""
