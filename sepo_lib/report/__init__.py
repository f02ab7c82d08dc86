"""What came out? Claims, documents and the HTML report."""
