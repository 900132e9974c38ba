"""Corpora, tables of documents: read row by row, in isolated processes."""
