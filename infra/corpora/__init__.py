"""Corpora, which are tables of documents: isolated processes read them row by row."""
