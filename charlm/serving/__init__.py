"""The HTTP endpoint: it answers as the OpenAI API does, beside a page that writes by the same requests."""
