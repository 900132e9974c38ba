"""Korean text without a model: parsing, sentences, and term weights from Kiwi morphemes and character bigrams."""
