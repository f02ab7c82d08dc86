"""The parts of a run's HTML page, one module each; `html_page` puts them together."""
