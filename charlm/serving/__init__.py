"""The HTTP endpoint: it answers as the OpenAI API does, and serves a page that writes."""
