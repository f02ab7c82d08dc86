"""What is run, and in which order? Jobs, recipes, result tables, provenance."""
