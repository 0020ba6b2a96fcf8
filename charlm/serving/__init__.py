"""The HTTP server: an OpenAI-compatible API and web pages."""
