"""Korean text without a model: sentences, and term weights from Kiwi morphemes and character bigrams."""
