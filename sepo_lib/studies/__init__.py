"""Why does it work? Estimators against the exact gradient, headroom, sensitivity."""
