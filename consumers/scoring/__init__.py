"""Scores of answers and what they prove: metrics without a model, paired comparisons, corrected p-values."""
