"""What is SEPO? Objective (`objective`), advantages (`credit`), loss (`loss`), records, seeds. NumPy only."""
