"""Korean text without a model: splits it into sentences and weighs terms, from Kiwi morphemes and character bigrams."""
