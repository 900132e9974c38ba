"""The stages of `evaluation`: plan the questions, score their answers, report."""
