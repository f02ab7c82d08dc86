"""What is SEPO? Objective (`objective`), advantages (`credit`), loss (`loss`), records and seeds. NumPy only."""
