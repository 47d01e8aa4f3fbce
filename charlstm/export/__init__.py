"""Models in other forms: a web page that writes on its own."""
