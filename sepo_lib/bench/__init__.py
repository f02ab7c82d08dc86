"""How fast is it? `suites` says what is measured and measures it; `meters` holds the instruments."""
