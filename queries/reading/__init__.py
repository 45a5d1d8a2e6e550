"""Reading words as degrees over sound classes: a grammar, a phrase book, likeness."""
