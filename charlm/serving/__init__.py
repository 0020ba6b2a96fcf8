"""The HTTP endpoint: it answers as the OpenAI API does, beside a page for writing by the same requests."""
