"""How are answers sampled fast? The one place that trades clarity for speed."""
