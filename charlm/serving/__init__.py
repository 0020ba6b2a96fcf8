"""The HTTP server: an endpoint like the OpenAI API, and a page for each model."""
