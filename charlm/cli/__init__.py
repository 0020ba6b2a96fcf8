"""The command line: one module a command. A command parses, makes one call of `charlm.api`, and prints."""
